"""Crystals as records, and plain values."""

from __future__ import annotations

import enum

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from db.code_version import code_version
from db.crystals import crystal_fields, record_to_structure, structure_to_record
from db.plain import NotPlain, plain


def test_a_crystal_comes_back_to_the_last_bit(database: object) -> None:
    from db.candidates import insert_proposals, load

    rng = np.random.default_rng(0)
    lattice = Lattice(rng.normal(size=(3, 3)) + 4 * np.eye(3))
    structure = Structure(lattice, ["Sr", "Ti", "O", "O", "O"], rng.uniform(-1, 2, size=(5, 3)))
    fields = crystal_fields(structure)
    proposal = {"generator_version": "g", "codes_hash": "x", "codes": {"a": 1}, **fields}
    (name,) = insert_proposals("c", [proposal])
    stored = load(name)
    back = record_to_structure(stored.structure)
    assert np.array_equal(back.lattice.matrix, structure.lattice.matrix)
    assert np.array_equal(back.frac_coords, structure.frac_coords)
    assert back.species == structure.species
    assert (stored.formula, stored.chemical_system, stored.n_atoms) == ("SrTiO3", "O-Sr-Ti", 5)
    assert stored.elements == ["O", "Sr", "Ti"]


def test_magnetic_moments_are_kept_where_there_are_some() -> None:
    salt = Structure(Lattice.cubic(4), ["Mn", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert "magmom" not in structure_to_record(salt)
    assert "magmom" not in structure_to_record(salt.copy(site_properties={"magmom": [0.0, 0]}))
    record = structure_to_record(salt.copy(site_properties={"magmom": [5, None]}))
    assert record["magmom"] == [5.0, 0.0]
    assert record_to_structure(record).site_properties["magmom"] == [5.0, 0.0]
    vector = salt.copy(site_properties={"magmom": [[0, 0, 5.0], [0, 0, 0]]})
    with pytest.raises(ValueError, match="collinear"):
        structure_to_record(vector)


def test_charges_are_dropped_and_disorder_is_refused() -> None:
    charged = Structure(Lattice.cubic(4), ["Na+", "Cl-"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert structure_to_record(charged)["species"] == ["Na", "Cl"]
    mixed = Structure(Lattice.cubic(4), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])
    with pytest.raises(ValueError, match="partially occupied"):
        structure_to_record(mixed)


def test_plain_values() -> None:
    class Colour(enum.StrEnum):
        RED = "red"

    value = {"a": (1, np.int64(2), np.float32(0.5)), "b": Colour.RED, "c": np.bool_(True)}
    result = plain(value, "x")
    assert result == {"a": [1, 2, 0.5], "b": "red", "c": True}
    assert [type(item) for item in result["a"]] == [int, int, float]
    assert type(result["b"]) is str
    assert result["c"] is True
    with pytest.raises(NotPlain, match=r"x\.a\[1\] is inf"):
        plain({"a": [0, np.inf]}, "x")
    with pytest.raises(NotPlain, match=r"x\[0\] is nan"):
        plain(np.array([np.nan]), "x")
    with pytest.raises(NotPlain, match="64 bits"):
        plain(2**63, "x")
    with pytest.raises(NotPlain, match="x is a set"):
        plain({1}, "x")


def test_code_version_names_release_and_revision() -> None:
    assert code_version().startswith("0.1.0")
