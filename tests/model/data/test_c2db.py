"""C2DB's coordinates against the space groups that C2DB gives, and against known layers."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import spglib
from pymatgen.core import Structure

from agents.tables import structure_reader
from model.data.c2db import repaired
from model.data.canonical import Crystal, structure_from_arrays
from model.data.dataset import read_split
from model.data.formats import read_csv
from model.data.sources import read_source


def group(crystal: Crystal) -> int:
    """The space group at 0.1 Å, as in the tables."""
    structure, _ = structure_from_arrays(crystal.numbers, crystal.frac, crystal.cell)
    assert structure is not None
    cell = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    found = spglib.get_symmetry_dataset(cell, symprec=0.1)
    return 0 if found is None else int(found.number)


def structure(crystal: Crystal) -> Structure:
    found, _ = structure_from_arrays(crystal.numbers, crystal.frac, crystal.cell)
    assert found is not None
    return found


@pytest.mark.data
def test_layers_have_the_space_groups_that_c2db_gives(data_dir: Path) -> None:
    with gzip.open(data_dir / "c2db_test.csv.gz", "rt") as stream:
        groups = {row["material_id"]: int(row["spacegroup"]) for row in csv.DictReader(stream)}
    text = gzip.decompress((data_dir / "c2db_test.csv.gz").read_bytes()).decode()
    written = {e.id: e.crystal for e in read_csv(text, "test") if isinstance(e.crystal, Crystal)}
    table = read_split("c2db", "test", data_dir=data_dir)
    oblique = [
        (groups[name], written[name], crystal)
        for name, crystal in zip(table.ids, table.crystals, strict=True)
        if abs(crystal.cell[5] - 90.0) > 0.5
    ]
    assert len(oblique) > 120
    assert sum(group(one) == known for known, one, _ in oblique) < 0.05 * len(oblique)
    assert sum(group(read) == known for known, _, read in oblique) > 0.94 * len(oblique)


def test_cartesian_coordinates_become_fractional_ones() -> None:
    """1H-MoS2 as the tables write it; the bond is 2.41 Å."""
    written = np.array([[0.5, 0.288675, 0.5], [0.0, 0.57735, 0.6], [0.0, 0.57735, 0.4]])
    cell = np.array([3.18, 3.18, 15.6, 90.0, 90.0, 120.0])
    found = repaired(Crystal(np.array([42, 16, 16]), written, cell))
    expected = [[2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, 0.6], [1 / 3, 2 / 3, 0.4]]
    np.testing.assert_allclose(found.frac, expected, atol=1e-5)
    assert structure(found).get_distance(0, 1) == pytest.approx(2.41, abs=0.01)
    assert group(found) == 187


@pytest.mark.parametrize("gamma", [60.0, 75.0, 120.0])
def test_whatever_lies_in_the_cell_comes_back(gamma: float) -> None:
    generator = np.random.default_rng(0)
    cell = np.array([3.1, 4.2, 18.0, 90.0, 90.0, gamma])
    frac = generator.uniform(0.02, 0.98, (20, 3))
    angle = np.radians(gamma)
    cartesian = np.array(
        [
            [a * cell[0] + b * cell[1] * np.cos(angle), b * cell[1] * np.sin(angle), c * cell[2]]
            for a, b, c in frac
        ]
    )
    written = (cartesian / cell[:3]) % 1.0
    found = repaired(Crystal(np.full(20, 6), written, cell))
    np.testing.assert_allclose(found.frac, frac, atol=1e-9)


def test_rectangular_cells_stay_and_tilted_ones_are_refused() -> None:
    cell = np.array([3.1, 4.2, 18.0, 90.0, 90.0, 90.0])
    crystal = Crystal(np.array([6]), np.array([[0.3, 0.9, 0.5]]), cell)
    np.testing.assert_array_equal(repaired(crystal).frac, crystal.frac)
    tilted = Crystal(crystal.numbers, crystal.frac, np.array([3.1, 4.2, 18.0, 80.0, 90.0, 120.0]))
    with pytest.raises(ValueError, match="perpendicular"):
        repaired(tilted)


ROW = {
    "cell": [3.18, 3.18, 15.6, 90.0, 90.0, 120.0],
    "species": ["Mo", "S", "S"],
    "frac": [[0.5, 0.288675, 0.5], [0.0, 0.57735, 0.6], [0.0, 0.57735, 0.4]],
}
"""1H-MoS2 as the tables write it."""


@pytest.mark.parametrize("name", ["c2db_val.csv.gz", "c2db_val.csv"])
def test_a_table_given_as_a_source_is_read_as_meant(name: str, tmp_path: Path) -> None:
    tilted = {**ROW, "cell": [3.18, 3.18, 15.6, 80.0, 90.0, 120.0]}
    rows = [["material_id", "structure"], ["a", json.dumps(ROW)], ["b", json.dumps(tilted)]]
    opened = gzip.open if name.endswith(".gz") else open
    for place in (tmp_path / name, tmp_path / f"copy_{name}"):
        with opened(place, "wt") as stream:
            csv.writer(stream).writerows(rows)
    found = read_source(tmp_path / name)
    assert found.ids == ["a"]  # the other is no layer, and is named
    assert structure(found.crystals[0]).get_distance(0, 1) == pytest.approx(2.41, abs=0.01)
    assert structure_reader(tmp_path / name)(rows[1][1]).get_distance(0, 1) == pytest.approx(
        2.41, abs=0.01
    )
    copy = read_source(tmp_path / f"copy_{name}")
    np.testing.assert_allclose(sorted(copy.crystals[0].frac[:, 1]), [0.2887, 0.5774, 0.5774], 1e-3)
