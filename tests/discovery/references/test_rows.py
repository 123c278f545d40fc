"""Rows of reference tables as they are stored."""

from __future__ import annotations

import json

import pytest

from db.crystals import record_to_structure
from discovery.references.rows import Batch, Row, read_batch, read_crystal

GRAPHENE = {
    "cell": [2.466, 2.466, 15.0, 90.0, 90.0, 120.0],
    "species": ["C", "C"],
    "frac": [[0.0, 0.57735, 0.5], [0.5, 0.288675, 0.5]],  # Cartesian over the lengths
}


@pytest.mark.parametrize(
    ("file", "bond"), [("c2db_train.csv.gz", 1.424), ("c2db_jarvis.csv.gz", 1.07)]
)
def test_layers_of_c2db_are_stored_with_the_coordinates_that_its_tables_mean(
    file: str, bond: float
) -> None:
    values = {"material_id": "C2", "formula": "C", "structure": json.dumps(GRAPHENE)}
    found = read_crystal(Row(1, values), oblique=file == "c2db_train.csv.gz")
    stored = record_to_structure(found["structure"])
    assert stored.get_distance(0, 1) == pytest.approx(bond, abs=0.02)
    result = read_batch(Batch("c2db", file, "train", (Row(1, values),), 0))
    assert not result.bad
    assert set(result.crystals) == {"C2"}
