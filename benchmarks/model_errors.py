"""How far off the property models are on crystals whose formula they never saw.

    python benchmarks/model_errors.py --rows 1500 --json agents/verify/choice/data/model_errors.json

The crystals: rows of MP-20's test and validation splits whose formula is not among those of the
Materials Project of 2018-06-01, which MEGNet and ALIGNN learned from; a random choice of them with
a fixed seed. Truth: MP-20's own PBE(+U) labels, whose corrections are of another year (0.046
eV/atom mean absolute difference where both exist): the errors of formation energies include that.
Models of the gap are judged where there is one, as their number means "if there is a gap". Only
predictions that the model itself counts as in its domain.

The root mean square errors are the widths that the choice for DFT gives to models without an
uncertainty of their own (`agents.verify.choice.probability`). ``half_width_68``, half of what the
middle 68 % of the errors span, is smaller, because a few errors are large.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Lattice, Structure

from agents.paths import data_path
from agents.screen.models import known_screens, load_screen
from agents.screen.screen import Refusal, Screen
from model.data.dataset import read_split
from model.data.table import CrystalTable

SOURCE = (
    "MP-20 test and validation rows whose formula the Materials Project of 2018 lacks, "
    "by benchmarks/model_errors.py"
)
SEEN = "mp2018_eform_compositions.csv.gz"
PROPERTIES = ("formation_energy_per_atom", "band_gap")


def unseen(rows: int, seed: int) -> tuple[list[Structure], dict[str, NDArray[np.float64]]]:
    """Return crystals of new formulas, and the true values (B,) of each property.

    Raises:
        MissingFile: A data file is not there.
    """
    path = data_path(SEEN)
    with gzip.open(path, "rt", newline="") as file:
        seen = {row["reduced"] for row in csv.DictReader(file)}
    tables = [read_split("mp20", split, data_dir=path.parent) for split in ("val", "test")]
    new = [
        (table, i)
        for table in tables
        for i, formula in enumerate(table.formulas)
        if str(formula) not in seen
    ]
    chosen = np.random.default_rng(seed).permutation(len(new))[:rows]
    picked = [new[i] for i in np.sort(chosen)]
    truth = {
        name: np.array([table.labels[f"{name}@mp20"][i] for table, i in picked])
        for name in PROPERTIES
    }
    return [_structure(table, i) for table, i in picked], truth


def _structure(table: CrystalTable, row: int) -> Structure:
    crystal = table.crystals[row]
    return Structure(Lattice.from_parameters(*crystal.cell), crystal.numbers, crystal.frac)


def errors_of(
    screen: Screen, structures: Sequence[Structure], truth: dict[str, NDArray[np.float64]]
) -> list[dict[str, Any]]:
    """Return a model's errors, a row for each property it predicts."""
    errors: dict[str, list[float]] = {}
    for row, answer in enumerate(screen.predict(structures)):
        for one in [] if isinstance(answer, Refusal) else answer:
            if one.property in PROPERTIES and one.in_domain:
                true = float(truth[one.property][row])
                if one.property != "band_gap" or true > 0:
                    errors.setdefault(one.property, []).append(one.value - true)
    return [_row(screen, name, np.array(found)) for name, found in errors.items()]


def _row(screen: Screen, name: str, errors: NDArray[np.float64]) -> dict[str, Any]:
    low, high = np.quantile(errors, [0.16, 0.84])
    return {
        "model": screen.name,
        "version": screen.version,
        "property": name,
        "n": len(errors),
        "rmse": round(float(np.sqrt(np.mean(errors**2))), 4),
        "mae": round(float(np.mean(np.abs(errors))), 4),
        "mean": round(float(np.mean(errors)), 4),
        "half_width_68": round(float(high - low) / 2, 4),
        "source": SOURCE + (", those with a gap" if name == "band_gap" else ""),
    }


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", default=",".join(known_screens()), help="joined by commas")
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write the result too")
    options = parser.parse_args()
    structures, truth = unseen(options.rows, options.seed)
    errors: list[dict[str, Any]] = []
    for name in options.models.split(","):
        errors += errors_of(load_screen(name), structures, truth)
    report = {"rows": len(structures), "seed": options.seed, "errors": errors}
    print(json.dumps(report, indent=2))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
