"""The tables of docs/search.md, from the runs of `discovery evaluate search`.

    discovery evaluate search --dataset mp20 --methods donor,paper_ga,ours --runs mp20.jsonl
    python benchmarks/search_tables.py mp20.jsonl --methods donor,paper_ga,ours

One table for each comparison that the files hold. Only the seeds and bases that every method of a
table has are counted, so an unfinished comparison gives a fair, smaller one. Nothing is measured
here.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from agents.compare.figures import figures_of, spread

COLUMNS = {
    "hits": ("hits", 0),
    "hits_below_-0.5": ("hits < -0.5", 0),
    "distinct_crystals": ("crystals", 0),
    "share_negative": ("share < 0", 3),
    "share_neutral": ("SMACT-valid", 3),
    "best": ("best, eV/atom", 2),
    "evaluations": ("evaluations", 0),
    "cpu_seconds": ("CPU s", 1),
    "cpu_seconds_without_potential": ("of it without potential", 2),
    "prototypes": ("structure types", 1),
}
RELAXED = {
    "relaxed_near_hull": ("new, near the hull", 1),
    "relaxed_near_hull_known_too": ("known too", 1),
    "relaxed": ("relaxed", 1),
    "relaxed_accepted": ("accepted", 1),
    "undecided": ("undecided", 1),
    "hits": ("hits before", 0),
    "evaluations": ("evaluations", 0),
    "force_calls": ("force calls in all", 0),
}
Place = tuple[Any, int]


def read(sources: list[Path]) -> dict[tuple, dict[str, dict[Place, dict[str, Any]]]]:
    """Return comparison → method → (base, seed) → figures."""
    found: dict[tuple, dict[str, dict[Place, dict[str, Any]]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for source in sources:
        for line in source.read_text().splitlines():
            run = json.loads(line)
            key = run["key"]
            name = tuple(key[n] for n in ("dataset", "evaluations", "force_calls", "fitness"))
            found[name][key["method"]][key["base"], key["seed"]] = figures_of(run)
    return found


def table(
    name: tuple, methods: dict[str, dict[Place, dict[str, Any]]], *, own_seeds: bool = False
) -> str:
    """Return one comparison as Markdown.

    Args:
        name: data set, evaluations, force calls, fitness.
        methods: method → (base, seed) → figures.
        own_seeds: every method with all seeds that it ran on all bases, and a column for their
            number; else the runs that all methods have.
    """
    dataset, evaluations, force_calls, fitness = name
    shared = set.intersection(*(set(runs) for runs in methods.values()))
    if not shared:
        return f"{dataset}: no base and seed was run with every method of {', '.join(methods)}"
    bases, seeds = {base for base, _ in shared}, {seed for _, seed in shared}
    places = dict.fromkeys(methods, shared)
    if own_seeds:
        places = {method: _whole_seeds(runs, bases) for method, runs in methods.items()}
    columns = RELAXED if force_calls else COLUMNS
    rows = {
        method: spread({place: runs[place] for place in sorted(places[method])})
        for method, runs in methods.items()
    }
    shown = {key: column for key, column in columns.items() if all(key in r for r in rows.values())}
    budget = f"{evaluations} evaluations" + (f", {force_calls} force calls" if force_calls else "")
    extent = f"{len(shared)} runs of each method: {len(bases)} bases, {len(seeds)} seeds"
    if own_seeds:
        extent = f"{len(bases)} bases"
    first = ["method", *(["seeds"] if own_seeds else [])]
    titles = [*first, *(label for label, _ in shown.values())]
    lines = [
        f"{dataset}, {budget}, minimised: {fitness}; {extent}; "
        "mean ± sd over seeds (sd over bases)",
        "",
        "| " + " | ".join(titles) + " |",
        "|---" * len(titles) + "|",
    ]
    for method, figures in rows.items():
        cells = [_cell(figures[key], digits) for key, (_, digits) in shown.items()]
        if own_seeds:
            cells.insert(0, str(len({seed for _, seed in places[method]})))
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _whole_seeds(runs: dict[Place, dict[str, Any]], bases: set[str]) -> set[Place]:
    """Return the runs of the seeds that were run on all bases."""
    seeds = {seed for _, seed in runs}
    whole = {seed for seed in seeds if all((base, seed) in runs for base in bases)}
    return {(base, seed) for base in bases for seed in whole}


def _cell(value: dict[str, float | None], digits: int) -> str:
    if value["mean"] is None:
        return "–"
    text = f"{value['mean']:.{digits}f}"
    if value["sd"]:
        text += f" ± {value['sd']:.{digits}f}"
    return text + (f" ({value['sd_bases']:.{digits}f})" if value["sd_bases"] else "")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sources", type=Path, nargs="+", help="files of --runs")
    parser.add_argument("--methods", help="names joined by commas, in the order of the rows")
    parser.add_argument(
        "--own-seeds", action="store_true", help="each method with all its seeds, not the shared"
    )
    options = parser.parse_args()
    for name, methods in read(options.sources).items():
        wanted = options.methods.split(",") if options.methods else list(methods)
        chosen = {method: methods[method] for method in wanted if method in methods}
        print(table(name, chosen, own_seeds=options.own_seeds) + "\n")


if __name__ == "__main__":
    main()
