"""How good are the screens, and how far can their agreement be trusted?

    python benchmarks/screens.py --n 2000 --json screens.json
    python benchmarks/screens.py --models megnet --parts split,speed

Four parts, each a table:

- `split`: errors on the rows of MP 2018.6.1 that the table's split column calls test, and as many
  of the rows it calls val and train; crystals with their structures of 2018 only.
- `new`: errors on crystals of MP-20 that the Materials Project did not have on 2018-06-01, so that
  no model here can have learned them. MP-20's formation energies are of a later correction scheme;
  they are moved to that of 2018 by one shift per element, fitted on MP-20's training rows that both
  tables have. The rows of MP-20's test split that both have show what that costs. Errors by
  distance in composition space (`agents.screen.domain`) are of these crystals too.
- `agreement`: of two models on the new crystals: correlation of their errors, and how often both
  are right and wrong about a window.
- `speed`: milliseconds a crystal, alone and in batches, wall clock and CPU.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Composition, Structure
from scipy.stats import spearmanr

from agents.paths import data_path
from agents.screen.domain import mp2018
from agents.screen.models import load_screen
from agents.screen.screen import Refusal, Screen
from agents.tables import parse_structure, read_rows
from agents.targets import Window

ENERGY, GAP, P_GAP = "formation_energy_per_atom", "band_gap", "p_gap"
PUBLISHED = {
    "megnet": {ENERGY: 0.028, GAP: 0.33, "metals found": 0.789, "non-metals found": 0.906},
}
"""mvl_models/mp-2018.6.1/README.md of the MEGNet repository; doi 10.1021/acs.chemmater.9b01294."""
NEWEST_2018 = 1_040_512
"""Highest number of an identifier in MP 2018.6.1; later entries have higher ones."""
WINDOWS = (Window(property=ENERGY, max=-0.5), Window(property=GAP, min=0.5, max=2.5))
DISTANCES = (0.0, 0.25, 0.5, 1.0, 2.1, float("inf"))
RIDGE = 0.01


class Rows:
    """Crystals with labels, and what each model says of them.

    Attributes:
        structures: the crystals.
        labels: property to (N,) values, eV/atom and eV.
        values: model to property to (N,) values, NaN where a model refused.
    """

    def __init__(
        self, rows: Sequence[dict[str, str]], screens: Sequence[Screen], shift: Any = None
    ) -> None:
        self.structures = [parse_structure(row["structure"]) for row in rows]
        energies = np.array([float(row[ENERGY]) for row in rows])
        if shift is not None:
            energies = energies - fractions([row["formula"] for row in rows]) @ shift
        self.labels = {ENERGY: energies, GAP: np.array([float(row[GAP]) for row in rows])}
        self.values = {screen.name: ask(screen, self.structures) for screen in screens}


def ask(screen: Screen, structures: Sequence[Structure]) -> dict[str, np.ndarray]:
    """Return every property a model knows, (N,) each; NaN where it refuses."""
    answers = []
    for start in range(0, len(structures), 128):
        answers += screen.predict(structures[start : start + 128], on="given")
    names = dict.fromkeys(p.property for a in answers if isinstance(a, list) for p in a)
    table = {name: np.full(len(structures), np.nan) for name in names}
    for i, answer in enumerate(answers):
        if not isinstance(answer, Refusal):
            for prediction in answer:
                table[prediction.property][i] = prediction.value
    return table


def errors(rows: Rows, model: str) -> dict[str, Any]:
    """Compare one model with the labels.

    Gaps are those of crystals with a gap, on which the gap models were trained; the value compared
    is max(0, gap), as in a window.
    """
    values = rows.values[model]
    with_gap = rows.labels[GAP] > 0
    given = np.isfinite(next(iter(values.values())))
    found: dict[str, Any] = {"crystals": int(given.sum()), "refused": int((~given).sum())}
    if ENERGY in values:
        error = np.abs(values[ENERGY] - rows.labels[ENERGY])[given]
        found |= {ENERGY: float(error.mean()), "median": float(np.median(error))}
    if GAP in values:
        error = np.abs(np.maximum(values[GAP], 0) - rows.labels[GAP])
        found |= {
            GAP: float(error[given & with_gap].mean()),
            "all gaps": float(error[given].mean()),
        }
    if P_GAP in values:
        says = values[P_GAP] >= 0.5
        found["metals found"] = float((~says)[given & ~with_gap].mean())
        found["non-metals found"] = float(says[given & with_gap].mean())
    return found


def agreement(rows: Rows, first: str, second: str) -> dict[str, Any]:
    """Correlate the errors of two models, and count how often they agree about windows."""
    found: dict[str, Any] = {"models": [first, second]}
    for window in WINDOWS:
        name = window.property
        one, other = rows.values[first].get(name), rows.values[second].get(name)
        if one is None or other is None:
            continue
        label = rows.labels[name]
        given = np.isfinite(one) & np.isfinite(other)
        if name == GAP:
            given &= label > 0
        a, b, label = one[given], other[given], label[given]
        truth, says_a, says_b = (
            np.array([window.contains(max(x, 0) if name == GAP else x) for x in v])
            for v in (label, a, b)
        )
        wrong_a, wrong_b = says_a != truth, says_b != truth
        found[name] = {
            "crystals": int(given.sum()),
            "errors, Pearson": float(np.corrcoef(a - label, b - label)[0, 1]),
            "errors, Spearman": float(spearmanr(a - label, b - label).statistic),
            "absolute errors, Spearman": float(
                spearmanr(np.abs(a - label), np.abs(b - label)).statistic
            ),
            "window": str(window),
            "agree": float((says_a == says_b).mean()),
            "wrong": [float(wrong_a.mean()), float(wrong_b.mean())],
            "both wrong": float((wrong_a & wrong_b).mean()),
            "both wrong, were they independent": float(wrong_a.mean() * wrong_b.mean()),
            "precision of one": [_precision(says_a, truth), _precision(says_b, truth)],
            "precision of both": _precision(says_a & says_b, truth),
        }
    return found


def _precision(says: np.ndarray, truth: np.ndarray) -> float | None:
    return float(truth[says].mean()) if says.any() else None


def by_distance(rows: Rows, model: str) -> list[dict[str, Any]]:
    """Return the error of the formation energy in bins of the composition's distance."""
    distances = np.array([mp2018().distance(s.composition) for s in rows.structures])
    error = np.abs(rows.values[model][ENERGY] - rows.labels[ENERGY])
    bins = []
    for low, high in pairwise(DISTANCES):
        inside = (distances >= low) & (distances < high) & np.isfinite(error)
        if inside.any():
            mean = float(error[inside].mean())
            end = high if np.isfinite(high) else None
            bins.append({"from": low, "to": end, "crystals": int(inside.sum()), ENERGY: mean})
    return bins


def fractions(formulas: Sequence[str]) -> np.ndarray:
    """Return (N, 104) atomic fractions."""
    table = np.zeros((len(formulas), 104))
    for i, formula in enumerate(formulas):
        for element, share in Composition(formula).fractional_composition.items():
            table[i, element.Z] = share
    return table


def fit_shift(pairs: Sequence[tuple[str, float]]) -> np.ndarray:
    """Fit the difference of two correction schemes, eV/atom, as one number per element."""
    table = fractions([formula for formula, _ in pairs])
    difference = np.array([value for _, value in pairs])
    return np.linalg.solve(table.T @ table + RIDGE * np.eye(104), table.T @ difference)


def speed(screen: Screen, structures: Sequence[Structure], batch: int) -> dict[str, Any]:
    """Time a model alone and in batches on the same crystals, taken in turns."""
    screen.predict(structures[:2])
    spent = {"alone": np.zeros(2), "batch": np.zeros(2)}
    for start in range(0, len(structures), batch):
        part = structures[start : start + batch]
        for way, groups in (("alone", [[s] for s in part]), ("batch", [part])):
            began = np.array([time.perf_counter(), time.process_time()])
            for group in groups:
                screen.predict(group)
            spent[way] += np.array([time.perf_counter(), time.process_time()]) - began
    atoms = float(np.mean([len(s) for s in structures]))
    found: dict[str, Any] = {"crystals": len(structures), "mean atoms": atoms, "batch": batch}
    for way, (wall, cpu) in spent.items():
        found[f"{way}, ms CPU"] = 1000 * cpu / len(structures)
        found[f"{way}, ms"] = 1000 * wall / len(structures)
    return found


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the parts asked for."""
    parts = arguments.parts.split(",")
    screens = [load_screen(name, device=arguments.device) for name in arguments.models.split(",")]
    report: dict[str, Any] = {
        "models": {screen.name: screen.version for screen in screens},
        "seed": arguments.seed,
    }
    old = list(read_rows(data_path("mp2018_megnet.csv.gz")))
    draw = random.Random(arguments.seed)
    if "split" in parts:
        report["split"] = {}
        for split in ("test", "val", "train"):
            own = [
                row
                for row in old
                if row["megnet_split"] == split and row["struct_source"] == "crysxpp-PBE2018"
            ]
            rows = Rows(draw.sample(own, min(arguments.n, len(own))), screens)
            report["split"][split] = {s.name: errors(rows, s.name) for s in screens}
    if {"new", "agreement"} & set(parts):
        energies = {row["material_id"]: float(row[ENERGY]) for row in old}
        train, test = (list(read_rows(data_path(f"mp20_{s}.csv.gz"))) for s in ("train", "test"))
        shift = fit_shift(
            [
                (row["formula"], float(row[ENERGY]) - energies[row["material_id"]])
                for row in train
                if row["material_id"] in energies
            ]
        )
        kinds = {}
        if "new" in parts:
            kinds["in both"] = [row for row in test if row["material_id"] in energies]
        kinds["new"] = [r for r in test if int(r["material_id"].split("-")[1]) > NEWEST_2018]
        chosen = {
            kind: Rows(draw.sample(own, min(arguments.n, len(own))), screens, shift)
            for kind, own in kinds.items()
        }
        new = chosen["new"]
        if "new" in parts:
            report["new"] = {
                kind: {s.name: errors(rows, s.name) for s in screens}
                for kind, rows in chosen.items()
            }
            report["by distance"] = {s.name: by_distance(new, s.name) for s in screens}
        if "agreement" in parts:
            names = [screen.name for screen in screens]
            report["agreement"] = [
                agreement(new, first, second)
                for i, first in enumerate(names)
                for second in names[i + 1 :]
            ]
    if "speed" in parts:
        sample = [parse_structure(r["structure"]) for r in draw.sample(old, 4 * arguments.speed)]
        small = [s for s in sample if len(s) <= 20][: arguments.speed]
        report["speed"] = {s.name: speed(s, small, arguments.batch) for s in screens}
    return report


def show(report: dict[str, Any]) -> None:
    """Print every part as a table."""
    for part in ("split", "new"):
        for kind, models in report.get(part, {}).items():
            for name, found in models.items():
                print(f"{part}: {kind:8} {name:10} {_numbers(found)}")
    for name in report["models"]:
        if name in PUBLISHED and "split" in report:
            print(f"published         {name:10} {_numbers(PUBLISHED[name])}")
    for name, bins in report.get("by distance", {}).items():
        for one in bins:
            span = f"{one['from']:g} to {one['to'] or 'any'} places away"
            print(f"new, composition {span}: {name} {_numbers(one)}")
    for found in report.get("agreement", []):
        for name in (ENERGY, GAP):
            pair = " and ".join(found["models"])
            print(f"agreement {pair}, {name}: {_numbers(found.get(name, {}))}")
    for name, found in report.get("speed", {}).items():
        print(f"speed {name}: {_numbers(found)}")


def _numbers(found: dict[str, Any]) -> str:
    return ", ".join(
        f"{key} {value:.4f}" if isinstance(value, float) else f"{key} {value}"
        for key, value in found.items()
        if key not in ("from", "to")
    )


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="megnet,alignn")
    parser.add_argument("--parts", default="split,new,agreement,speed")
    parser.add_argument("--n", type=int, default=2000, help="crystals of each kind")
    parser.add_argument("--speed", type=int, default=128, help="crystals timed, up to 20 atoms")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="file to write")
    arguments = parser.parse_args()
    report = measure(arguments)
    show(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
