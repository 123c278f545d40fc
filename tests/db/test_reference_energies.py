"""Energies of reference crystals are kept apart by potential and criterion, and computed once."""

from __future__ import annotations

from typing import Any

import pytest
from pymongo.errors import DuplicateKeyError

from db import reference_energies
from db.connection import Session


def energy(identifier: str, value: float | None = -1.0, **fields: Any) -> dict[str, Any]:
    return {
        "reference_id": identifier,
        "potential": "chgnet-0.3.0",
        "criterion": "single_point",
        "energy_per_atom": value,
        "error": None if value is not None else "RuntimeError: no edge",
        "steps": 0,
        "max_force": None,
        "max_stress": None,
        "seconds": 0.1,
        **fields,
    }


def test_the_first_result_stays(database: Session) -> None:
    assert reference_energies.put("mp", [energy("a"), energy("b", None)]) == 2
    assert reference_energies.put("mp", [energy("a", -9.0)]) == 0
    found = reference_energies.find("mp", ["a", "b", "c"], "chgnet-0.3.0", "single_point")
    assert found == {"a": energy("a"), "b": energy("b", None)}


def test_potentials_and_criteria_are_kept_apart(database: Session) -> None:
    relaxed = energy("a", -1.2, criterion="relaxed")
    newer = energy("a", -1.3, potential="chgnet-0.4.0")
    assert reference_energies.put("mp", [energy("a"), relaxed, newer]) == 3
    assert reference_energies.put("c2db", [energy("a", -5.0)]) == 1
    found = reference_energies.find("mp", ["a"], "chgnet-0.3.0", "relaxed")
    assert found == {"a": relaxed}
    with pytest.raises(DuplicateKeyError):
        database.database["reference_energies"].insert_one({"collection": "mp", **energy("a")})


def test_fields_are_checked(database: Session) -> None:
    with pytest.raises(ValueError, match="an energy has the fields"):
        reference_energies.put("mp", [{"reference_id": "a"}])
    with pytest.raises(ValueError, match="nan"):
        reference_energies.put("mp", [energy("a", float("nan"))])
