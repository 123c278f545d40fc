"""What a property head promises and what it keeps: on known crystals and on recombined codes.

    python benchmarks/head_calibration.py mp20 --dataset mp20 --recombined 1000 --json mp20.json

Known crystals: the held-out rows of the code bank and the test split, with the data set's labels.
Recombined codes: every global gene of a held-out crystal replaced by that of some training crystal,
decoded, judged by CHGNet single points; and the held-out crystals themselves, decoded and judged
the same way, which shows how much of the difference is the potential's and the decoder's. MP-20's
labels are PBE(+U) with the Materials Project's corrections; CHGNet was trained on such energies, so
its level is nearly, but not exactly, the same.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor

from agents.paths import data_path
from agents.relax.potential import load_potential
from agents.relax.recombination import label_codes, recombine
from agents.relax.references import ElementalReferences
from model.codes import CrystalCodes
from model.data.dataset import read_split
from model.generator import Generator
from model.property.calibration import coverage_table
from model.property.head_training import property_metrics

_ENERGY = "formation_energy_per_atom"


def known_crystals(generator: Generator, dataset: str) -> dict[str, Any]:
    """Return the figures of the bank's held-out rows and of the test split, by population."""
    bank = generator.bank
    rows = bank.rows("val")
    held_out = [bank.codes(int(row)) for row in rows]
    labels = {name: torch.from_numpy(v[rows]).float() for name, v in bank.properties.items()}
    result = {"val": _figures(generator, held_out, labels)}
    table = read_split(dataset, "test", data_dir=data_path(f"{dataset}_test.csv.gz").parent)
    encoded = generator.encode_crystals(table.crystals)
    kept = [i for i, codes in enumerate(encoded) if isinstance(codes, CrystalCodes)]
    codes = [c for c in encoded if isinstance(c, CrystalCodes)]
    labels = {name: torch.from_numpy(v[kept]).float() for name, v in table.labels.items()}
    result["test"] = _figures(generator, codes, labels)
    return result


def judged_by_potential(
    generator: Generator, potential_name: str, n: int, n_plain: int, seed: int
) -> dict[str, Any]:
    """Return the figures of recombined codes and of held-out crystals left as they are."""
    potential = load_potential(potential_name)
    references = ElementalReferences.load(potential)
    rng = np.random.default_rng(seed)
    rows = rng.choice(generator.bank.rows("val"), size=n_plain, replace=False)
    populations = {
        "decoded val": [generator.bank.codes(int(row)) for row in rows],
        "recombined": recombine(generator, n, rng),
    }
    targets = [t for t in generator.head.targets if t.startswith(f"{_ENERGY}@")]
    result = {}
    for name, codes in populations.items():
        labelled = label_codes(generator, potential, references, codes)
        values = torch.from_numpy(labelled.values).float()
        figures = _figures(generator, labelled.codes, dict.fromkeys(targets, values))
        result[name] = {"refused": labelled.refused, "level": labelled.level, **figures}
    return result


def _figures(
    generator: Generator, codes: list[CrystalCodes], labels: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Return errors, rank correlation and coverages of the head on labelled codes."""
    head, features = generator.head, generator.features(codes)
    groups: dict[str, dict[str, Tensor]] = {}
    for name, values in labels.items():
        groups[name] = {name: values}
        if name.startswith("band_gap@"):
            groups[f"{name}, gap > 0"] = {name: torch.where(values > 0, values, torch.nan)}
            groups[f"{name}, gap = 0"] = {name: torch.where(values > 0, torch.nan, values)}
    result: dict[str, Any] = {"targets": {}}
    for title, own in groups.items():
        (name, values), *_ = own.items()
        if name not in head.targets or int((~values.isnan()).sum()) < 2:
            continue
        known = ~values.isnan()
        mean, truth = head.predict(features)[name][0][known], values[known]
        figures = property_metrics(head, features, own)[name]
        result["targets"][title] = {
            **{key: figures[key] for key in ("n", "mae", "mae_constant", "rmse")},
            "median_error": (mean - truth).abs().median().item(),
            "bias": (mean - truth).mean().item(),
            "spearman": _rank_correlation(mean.numpy(), truth.numpy()),
            "intervals": {
                f"{100 * share:.0f}": row
                for share, row in coverage_table(head, features, own)[name].items()
            },
            "uncalibrated": name in head.uncalibrated,
        }
    return result


def _rank_correlation(predicted: NDArray[np.float32], truth: NDArray[np.float32]) -> float | None:
    """Return Spearman's coefficient; None where all truths are equal (metals' gaps)."""
    if np.ptp(truth) == 0:
        return None
    return float(spearmanr(predicted, truth).statistic)


def table(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown."""
    lines = [
        f"head {report['head']} of {report['generator']} {report['version']}; {report['levels']}",
        "",
        "| population | target | n | MAE | constant | median | bias | Spearman "
        "| covered 50 / 80 / 95 % | median width |",
        "|---" * 10 + "|",
    ]
    for population, figures in report["populations"].items():
        for target, f in figures["targets"].items():
            covered = " / ".join(f"{100 * r['covered']:.1f}" for r in f["intervals"].values())
            widths = " / ".join(f"{r['width']:.3f}" for r in f["intervals"].values())
            rank = "" if f["spearman"] is None else f"{f['spearman']:.3f}"
            lines.append(
                f"| {population} | {target} | {f['n']} | {f['mae']:.4f} | {f['mae_constant']:.4f} "
                f"| {f['median_error']:.4f} | {f['bias']:+.4f} | {rank} "
                f"| {covered or 'uncalibrated'} | {widths} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkpoint", help="name or folder")
    parser.add_argument("--dataset", required=True, help="for the test split, for instance mp20")
    parser.add_argument("--recombined", type=int, default=1000, help="recombined codes; 0: none")
    parser.add_argument("--plain", type=int, default=300, help="held-out crystals for comparison")
    parser.add_argument("--potential", default="chgnet")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file to write the report to")
    options = parser.parse_args()
    generator = Generator.load(options.checkpoint)
    report: dict[str, Any] = {
        "generator": generator.name,
        "version": generator.version,
        "head": generator.head.version,
        "seed": options.seed,
        "levels": "data labels at the data set's level, recombined codes at the potential's",
        "populations": known_crystals(generator, options.dataset),
    }
    if options.recombined:
        report["populations"] |= judged_by_potential(
            generator, options.potential, options.recombined, options.plain, options.seed
        )
    print(table(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
