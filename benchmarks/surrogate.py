"""What the surrogate of the search knows after how many evaluations.

    python benchmarks/surrogate.py perov5 --json perov5.json
    python benchmarks/surrogate.py mp20 --max-atoms 10 --json mp20.json

Three questions, all with CHGNet single points of decoded, unrelaxed crystals as the truth:

- recombined: global genes of a held-out crystal, each from a training crystal of its own. Learned
  from n of them, judged on 500 others.
- one base: what a search is about. A genetic algorithm (first population from donors, mutation
  0.15, no repetition) searches around each of several held-out crystals; learned from the
  generations so far, judged on the children of the next.
- next base: as one base, but learned from all generations of the *other* searches too, as in a
  campaign; 0 own labels is a search that only begins.

Nothing here was used to train or tune the generator or its head.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from agents.compare.bases import Share, draw_bases
from agents.propose.code_features import ENERGY, CodeFeatures
from agents.propose.genetic import GeneticProposer
from agents.propose.proposer import Result
from agents.propose.seeds import EpisodeSeed
from agents.propose.settings import GeneticSettings
from agents.propose.space import search_space
from agents.propose.surrogate import CodeSurrogate
from agents.relax.potential import Potential, load_potential
from agents.relax.recombination import label_codes, recombine
from agents.relax.references import ElementalReferences
from model.codes import CrystalCodes
from model.generator import Generator

SIZES = (16, 32, 64, 128, 256, 512, 1000, 2000)
HELD_OUT = 500
OWN = (64, 128, 256, 512)
PENALTY = 10.0
_WITHIN = {"50": 0.6745, "80": 1.2816, "95": 1.9600}  # standard deviations of a normal interval

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Labelled:
    """Codes with their truths, in the order evaluated; `generation` is 0 where there is none."""

    codes: list[CrystalCodes]
    values: Array
    generation: NDArray[np.int64]

    def part(self, rows: NDArray[Any]) -> Labelled:
        """Return some rows, given by number or as a mask."""
        numbers = np.arange(len(self.codes))[rows]
        return Labelled([self.codes[i] for i in numbers], self.values[rows], self.generation[rows])


def searched(
    generator: Generator,
    potential: Potential,
    references: ElementalReferences,
    row: int,
    seed: int,
) -> Labelled:
    """Search around one crystal of the bank; what has no energy carries the penalty."""
    settings = GeneticSettings(initial="donor", mutation=0.15, distinct=True, survivors=0)
    space = search_space(generator, row)
    proposer = GeneticProposer(space, EpisodeSeed(seed, row), settings)
    known: dict[CrystalCodes, float] = {}
    codes: list[CrystalCodes] = []
    generations: list[int] = []
    for number in range(settings.generations):
        asked = [proposal.codes for proposal in proposer.ask(number)]
        new = [c for c in dict.fromkeys(asked) if c not in known]
        found = label_codes(generator, potential, references, new)
        known |= dict.fromkeys(new, PENALTY) | dict(zip(found.codes, found.values, strict=True))
        codes += new
        generations += [number] * len(new)
        proposer.tell(number, [Result(str(i), c, float(known[c])) for i, c in enumerate(asked)])
    return Labelled(codes, np.array([known[c] for c in codes]), np.array(generations))


def figures(
    generator: Generator, learned: Sequence[Labelled], judged: Labelled, seed: int
) -> dict[str, float]:
    """Learn, predict, and return ranks, errors, coverages, likelihood and times."""
    codes = [c for part in learned for c in part.codes]
    values = np.concatenate([part.values for part in learned])
    CodeFeatures.of(generator)(codes)
    surrogate = CodeSurrogate(generator, seed=seed)
    start = time.process_time()
    surrogate.fit(codes, values)
    fitted = time.process_time()
    mean, std = surrogate.predict(judged.codes)
    asked = time.process_time()
    away = np.abs(judged.values - mean) / std
    below = judged.values < 0
    result = {
        "labels": len(codes),
        "spearman": float(spearmanr(mean, judged.values).statistic),
        "spearman_below_0": float(spearmanr(mean[below], judged.values[below]).statistic),
        "median_error": float(np.median(np.abs(mean - judged.values))),
        "nlpd": float(np.mean(0.5 * away**2 + np.log(std) + 0.5 * np.log(2 * np.pi))),
        "fit_cpu_s": fitted - start,
        "predict_cpu_ms": 1e3 * (asked - fitted) / len(judged.codes),
    }
    return result | {f"covered_{k}": float(np.mean(away < z)) for k, z in _WITHIN.items()}


def frozen(generator: Generator, judged: Labelled) -> dict[str, float]:
    """Return the rank correlation of every formation energy that the frozen head predicts."""
    predicted = generator.head.predict(generator.features(judged.codes))
    return {
        name: float(spearmanr(mean.numpy(), judged.values).statistic)
        for name, (mean, _) in predicted.items()
        if name.startswith(f"{ENERGY}@")
    }


def recombined_curve(
    generator: Generator,
    potential: Potential,
    references: ElementalReferences,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Return the figures by number of labels of recombined codes around many bases."""
    rng = np.random.default_rng(options.seed)
    wanted = SIZES[-1] + HELD_OUT
    drawn: list[CrystalCodes] = []
    while len(drawn) < wanted:
        fresh = recombine(generator, wanted, rng)
        drawn += [c for c in fresh if options.max_atoms is None or c.n_atoms <= options.max_atoms]
    found = label_codes(generator, potential, references, drawn[: int(1.05 * wanted)])
    every = Labelled(found.codes, found.values, np.zeros(len(found.codes), dtype=np.int64))
    order = rng.permutation(len(every.codes))
    judged, rest = every.part(order[:HELD_OUT]), order[HELD_OUT:]
    return {
        "frozen_head": frozen(generator, judged),
        "curve": [
            figures(generator, [every.part(rest[:n])], judged, options.seed)
            for n in SIZES
            if n <= len(rest)
        ],
    }


def search_curves(
    generator: Generator,
    potential: Potential,
    references: ElementalReferences,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Return the figures by number of own labels, alone and with the other searches' labels."""
    rows = draw_bases(
        generator,
        options.bases,
        seed=options.seed,
        share=Share.FRESH,
        max_atoms=options.max_atoms,
    )
    searches = [
        searched(generator, potential, references, row, options.seed + i)
        for i, row in enumerate(rows)
    ]
    result: dict[str, Any] = {"one base": [], "next base": []}
    for own in (0, *OWN):
        alone, together = [], []
        for place, search in enumerate(searches):
            past = search.part(search.generation < own // 64)
            judged = search.part(search.generation == own // 64)
            others = searches[:place] + searches[place + 1 :]
            if own:
                alone.append(figures(generator, [past], judged, options.seed))
            parts = [*others, past] if own else others
            together.append(figures(generator, parts, judged, options.seed))
        if own:
            result["one base"].append({"own": own, **_mean(alone)})
        result["next base"].append({"own": own, **_mean(together)})
    return result


def _mean(rows: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return means over bases, and the smallest and largest rank correlation."""
    ranks = [row["spearman"] for row in rows]
    means = {key: float(np.nanmean([row[key] for row in rows])) for key in rows[0]}
    return means | {"lowest": min(ranks), "highest": max(ranks)}


def table(report: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    head = ", ".join(f"{k}: {v:.2f}" for k, v in report["recombined"]["frozen_head"].items())
    lines = [
        f"{report['generator']} {report['version']}, {report['level']}; frozen head: {head}",
        "",
        "| population | own labels | labels | Spearman | of those below 0 | median error (eV/atom) "
        "| covered 50 / 80 / 95 % | NLPD | fit (CPU s) | predict (CPU ms) |",
        "|---" * 10 + "|",
    ]
    populations = {"recombined": report["recombined"]["curve"], **report["searches"]}
    for name, rows in populations.items():
        for row in rows:
            spread = f" ({row['lowest']:.2f} to {row['highest']:.2f})" if "lowest" in row else ""
            covered = " / ".join(f"{100 * row[f'covered_{k}']:.0f}" for k in _WITHIN)
            lines.append(
                f"| {name} | {row.get('own', '')} | {row['labels']:.0f} "
                f"| {row['spearman']:.3f}{spread} | {row['spearman_below_0']:.3f} "
                f"| {row['median_error']:.3f} | {covered} | {row['nlpd']:.2f} "
                f"| {row['fit_cpu_s']:.2f} | {row['predict_cpu_ms']:.3f} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkpoint", help="name or folder")
    parser.add_argument("--max-atoms", type=int, help="largest cell; default: any")
    parser.add_argument("--bases", type=int, default=6, help="searches")
    parser.add_argument("--potential", default="chgnet")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file to write the report to")
    options = parser.parse_args()
    generator = Generator.load(options.checkpoint)
    potential = load_potential(options.potential)
    references = ElementalReferences.load(potential)
    common = (generator, potential, references, options)
    report = {
        "generator": generator.name,
        "version": generator.version,
        "level": potential.level,
        "seed": options.seed,
        "bases": options.bases,
        "max_atoms": options.max_atoms,
        "recombined": recombined_curve(*common),
        "searches": search_curves(*common),
    }
    print(table(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
