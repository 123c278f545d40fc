"""Builds agents/screen/data/mp2018_training.npz from the training rows of MP 2018.6.1.

    DISCOVERY_DATA=... python tools/build_screen_domain.py

Prints how far held-out crystals are from the training set, from which the limits in
agents/screen/domain.py were taken.
"""

from __future__ import annotations

import numpy as np
from pymatgen.core import Composition

from agents.paths import data_path
from agents.screen.domain import MP2018, TrainingSet, mp2018, vacuum
from agents.tables import parse_structure, read_rows

QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999, 1.0)


def main() -> None:
    """Build the table and print the quantiles."""
    rows = list(read_rows(data_path("mp2018_megnet.csv.gz")))
    training = [row for row in rows if row["megnet_split"] == "train"]
    held_out = [row for row in rows if row["megnet_split"] != "train"]
    formulas = sorted({Composition(row["formula"]).reduced_formula for row in training})
    parts = [sorted((e.Z, round(a)) for e, a in Composition(f).items()) for f in formulas]
    crystals = np.zeros(104)
    for row in training:
        for element in Composition(row["formula"]).elements:
            crystals[element.Z] += 1
    lengths = [len(part) for part in parts]
    flat = np.array([pair for part in parts for pair in part])
    TrainingSet(
        "MP 2018.6.1",
        numbers=flat[:, 0],
        amounts=flat[:, 1],
        starts=np.cumsum([0, *lengths[:-1]]),
        crystals=crystals,
        largest=max(int(row["natoms"]) for row in training),
    ).save(MP2018)
    known = mp2018()
    print(f"{len(training)} crystals, {len(formulas)} compositions, up to {known.largest} atoms")
    distances = [known.distance(Composition(row["formula"])) for row in held_out]
    bulk = [row for row in held_out if row["struct_source"] == "crysxpp-PBE2018"]
    empty = [vacuum(parse_structure(row["structure"])) for row in bulk]
    slabs = [
        vacuum(parse_structure(row["structure"]))
        for part in ("val", "test")
        for row in read_rows(data_path(f"c2db_{part}.csv.gz"))
    ]
    for name, values in (
        (f"distance of {len(distances)} held-out crystals", distances),
        (f"vacuum of {len(empty)} held-out crystals, Å", empty),
        (f"vacuum of {len(slabs)} slabs of C2DB, Å", slabs),
    ):
        figures = ", ".join(
            f"{q:g}: {v:.2f}" for q, v in zip(QUANTILES, np.quantile(values, QUANTILES))
        )
        print(f"{name}: least {min(values):.2f}; quantiles {figures}")


if __name__ == "__main__":
    main()
