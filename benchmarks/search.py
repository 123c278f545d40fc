"""What a search costs besides the potential, and how many candidates it gives a minute.

    python benchmarks/search.py perov5 mp20 --population 64

For every method: milliseconds of processor time an evaluation for asking, decoding to arrays and
telling, in generations of one population, without the potential; the fitness is made up from the
codes. Proposals that bring their own structure are not decoded. The authors' code: 0.53 ms for
decoding and its genetic algorithm at population 64.

With `--end-to-end` also whole searches with the potential, as `discovery evaluate search` runs
them: candidates a minute on one core, in processor time. One thread; the median over the
generations, so that other work on the machine disturbs little. Prints a table, or with `--json` one
JSON document.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from typing import Any

import torch

from agents.compare.bases import Share, draw_bases
from agents.compare.comparison import Comparison, Files, Workbench
from agents.compare.methods import METHODS, check_names, for_budget
from agents.compare.run import MAX_REDRAWS, search
from agents.propose.build import build_proposer
from agents.propose.proposer import Result
from agents.propose.seeds import EpisodeSeed
from agents.propose.settings import ProposerSettings
from agents.propose.space import search_space
from model.codes import CrystalCodes
from model.generator import Generator

PARTS = ("ask", "decode", "tell")


def overhead(
    generator: Generator, settings: ProposerSettings, row: int, *, generations: int
) -> dict[str, float]:
    """Return the cost of one method without a potential.

    Returns:
        Milliseconds of processor time an evaluation: "ask", "decode" (to arrays), "tell", "all",
        medians over the generations, the first one left out.
    """
    proposer = build_proposer(
        for_budget(settings, generations),
        search_space(generator, row),
        EpisodeSeed(0, row),
        MAX_REDRAWS,
        generator,
    )
    spent: dict[str, list[float]] = {part: [] for part in PARTS}
    for number in range(generations):
        started = time.process_time()
        proposals = proposer.ask(number)
        asked = time.process_time()
        generator.decode_crystals([p.codes for p in proposals if p.structure is None])
        decoded = time.process_time()
        results = [Result(str(i), p.codes, _fitness(p.codes)) for i, p in enumerate(proposals)]
        telling = time.process_time()
        proposer.tell(number, results)
        told = time.process_time()
        parts = (asked - started, decoded - asked, told - telling)
        for part, seconds in zip(PARTS, parts, strict=True):
            spent[part].append(seconds / max(len(proposals), 1))
    figures = {part: 1e3 * statistics.median(values[1:]) for part, values in spent.items()}
    return figures | {"all": sum(figures.values())}


def _fitness(codes: CrystalCodes) -> float:
    """Return a made-up fitness between -2 and 1 that neighbouring codes do not share."""
    return (sum((i + 3) * gene for i, gene in enumerate(codes.global_genes)) % 97) / 32 - 2


def end_to_end(bench: Workbench, settings: ProposerSettings, row: int, n: int) -> dict[str, float]:
    """Return what whole searches give.

    Returns:
        {"candidates_per_minute", "hits_per_minute" (of processor time, potential included),
        "potential_share" (of that time)}.
    """
    found = search(bench.evaluator, settings, row, seed=0, evaluations=n)
    seconds = found.seconds.cpu
    hits = len({one.formula for one in found.evaluated if one.hit})
    return {
        "candidates_per_minute": 60 * len(found.evaluated) / seconds,
        "hits_per_minute": 60 * hits / seconds,
        "potential_share": 1 - found.seconds_without_potential.cpu / seconds,
    }


def measure(dataset: str, methods: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of one generator, a row for each method."""
    generator = Generator.load(dataset)
    row = draw_bases(generator, 1, seed=0, share=Share.TUNING, max_atoms=10)[0]
    bench = Workbench(Comparison(dataset, ()), Files()) if options.end_to_end else None
    rows = {}
    for method in methods:
        settings = _sized(METHODS[method], options.population)
        rows[method] = overhead(generator, settings, row, generations=options.generations)
        if bench is not None:
            n = options.population * options.generations
            rows[method] |= end_to_end(bench, settings, row, n)
    base = {"id": str(generator.bank.ids[row]), "n_atoms": int(generator.bank.n_atoms[row])}
    return {"generator_version": generator.version, "base": base, "methods": rows}


def _sized(settings: ProposerSettings, population: int) -> ProposerSettings:
    """Return the settings with another size of a generation."""
    field = "population" if hasattr(settings, "population") else "batch"
    return settings.model_copy(update={field: population})


def table(report: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    lines = [f"ms of processor time an evaluation, population {report['population']}, one thread"]
    for dataset, figures in report["datasets"].items():
        names = list(next(iter(figures["methods"].values())))
        base = figures["base"]
        lines += [
            "",
            f"{dataset} {figures['generator_version']}, base {base['id']} of {base['n_atoms']} "
            "atoms",
            "",
            "| method | " + " | ".join(name.replace("_", " ") for name in names) + " |",
            "|---" * (len(names) + 1) + "|",
        ]
        for method, row in figures["methods"].items():
            cells = [f"{row[n]:,.0f}" if "minute" in n else f"{row[n]:.3f}" for n in names]
            lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("datasets", nargs="+", choices=("perov5", "mp20"))
    parser.add_argument("--methods", default=",".join(METHODS), help="names joined by commas")
    parser.add_argument("--population", type=int, default=64)
    parser.add_argument("--generations", type=int, default=10)
    parser.add_argument("--end-to-end", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    methods = check_names(options.methods.split(","))
    report = {
        "population": options.population,
        "generations": options.generations,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "datasets": {name: measure(name, methods, options) for name in options.datasets},
    }
    print(json.dumps(report, indent=2) if options.json else table(report))


if __name__ == "__main__":
    main()
