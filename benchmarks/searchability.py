"""How much the global genes steer a crystal: local codes fixed, genes drawn in every way there is.

    python benchmarks/searchability.py perov5 mp20 --bases 100 --draws 64

Bases are held-out crystals of the code bank. Prints one JSON document per checkpoint with
`--json`, else a table; rates are fractions of 1.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from model.generator import Generator
from model.metrics.searchability import evaluate_searchability

_COLUMNS = {
    "min_distance_above_0.5": "d > 0.5 Å",
    "charge_neutral": "neutral",
    "distinct_compositions": "distinct",
    "distinct_compositions_min": "least",
    "composition_differs": "differs",
    "bases_ignoring_globals": "ignoring",
}


def table(report: dict[str, Any]) -> str:
    """Return the figures of one checkpoint as Markdown."""
    lines = [
        f"{report['model']} {report['model_version']}: {report['n_bases']} bases x "
        f"{report['n_draws']} draws, seed {report['seed']}",
        "",
        "| genes from | " + " | ".join(_COLUMNS.values()) + " |",
        "|---" * (len(_COLUMNS) + 1) + "|",
    ]
    for way, figures in report["ways"].items():
        cells = [_cell(figures[key]) for key in _COLUMNS]
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    slope = report["volume_slope"]
    lines += [
        "",
        f"charge neutral in the training set: {_cell(report['charge_neutral_in_data'])}; slope of "
        f"log V against log sum r^3: {_cell(slope['slope'])} over {slope['swaps']} species swaps, "
        f"{_cell(slope['slope_in_data'])} in the data",
    ]
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    """Return a number for a table."""
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkpoints", nargs="+", help="names or folders")
    parser.add_argument("--bases", type=int, default=100)
    parser.add_argument("--draws", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for name in options.checkpoints:
        report = evaluate_searchability(
            Generator.load(name),
            n_bases=options.bases,
            n_draws=options.draws,
            seed=options.seed,
            temperature=options.temperature,
        )
        print(json.dumps(report, indent=2) if options.json else table(report) + "\n")


if __name__ == "__main__":
    main()
