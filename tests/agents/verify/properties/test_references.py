"""Reference phases against the data they were taken from."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from agents.verify.properties.reference_table import STAND_INS
from agents.verify.properties.references import (
    ground_state_energy,
    reference_info,
    reference_structure,
)


def row_of(path: Path, name: str) -> dict[str, str]:
    csv.field_size_limit(1 << 24)
    with gzip.open(path, "rt", newline="") as stream:
        return next(row for row in csv.DictReader(stream) if row["material_id"] == name)


@pytest.mark.data
@pytest.mark.parametrize("element", STAND_INS)
def test_a_stand_in_is_the_phase_whose_energy_is_subtracted(data_dir: Path, element: str) -> None:
    file, name = STAND_INS[element]
    row = row_of(data_dir / file, name)
    info = reference_info(element)
    assert info["phase"] == name
    published = float(row["formation_energy_per_atom"])
    assert info["above_ground_state"] == pytest.approx(published, abs=1e-6)
    assert file in info["energy_source"]
    cell = json.loads(row["structure"])
    theirs = Structure(Lattice.from_parameters(*cell["cell"]), cell["species"], cell["frac"])
    ours = reference_structure(element)
    assert StructureMatcher(ltol=0.01, stol=0.02, scale=False).fit(ours, theirs)
    assert len(ours) <= 6


def test_the_ground_state_lies_below_its_stand_in() -> None:
    info = reference_info("Mn")
    assert info["stands_for"] == "mp-35"
    assert ground_state_energy(-9.0, info) == pytest.approx(-9.0 - 0.075066)


@pytest.mark.parametrize(("element", "phase"), [("Si", "mp-149"), ("O", "O2 molecule")])
def test_other_energies_are_the_computed_ones(element: str, phase: str) -> None:
    info = reference_info(element)
    assert (info["phase"], "stands_for" in info) == (phase, False)
    assert ground_state_energy(-5.4, info) == -5.4
