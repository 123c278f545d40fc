"""Reference collections: what is stored once stays once."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest

from db import reference_collections, reference_structures
from db.connection import Session
from db.plain import NotPlain
from db.reference_collections import OutdatedCollection, UnknownCollection


def crystal(identifier: str, elements: tuple[str, ...] = ("Cl", "Na")) -> dict[str, Any]:
    return {
        "reference_id": identifier,
        "formula": "".join(elements),
        "chemical_system": "-".join(elements),
        "elements": list(elements),
        "n_atoms": len(elements),
        "structure": {"lattice": [[1.0, 0, 0], [0, 1, 0], [0, 0, 1]], "species": list(elements)},
        "checksum": "c",
        "source": "a test",
    }


def test_storing_twice_stores_once(database: Session) -> None:
    for _ in range(2):
        reference_structures.put("mp", [crystal("a"), crystal("b", ("Na",))])
    reference_structures.put("other", [crystal("a")])
    assert database.database["reference_structures"].count_documents({}) == 3
    assert reference_structures.of_systems("mp", ["Cl-Na", "Na", "K"]) == [
        ("a", "ClNa", 2),
        ("b", "Na", 1),
    ]
    assert reference_structures.structures("mp", ["a", "missing"]).keys() == {"a"}


def test_a_collection_is_known_only_when_it_is_complete(database: Session) -> None:
    with pytest.raises(UnknownCollection, match="discovery data import mp"):
        reference_collections.load("mp")
    done = {"sha256": "ab" * 32, "read": 1, "bad": [], "complete": True}
    reference_collections.note_file("mp", "cells.csv.gz", done, version="v1", source="x")
    with pytest.raises(UnknownCollection, match="was not finished"):
        reference_collections.load("mp")
    reference_structures.put("mp", [crystal("a")])
    reference_collections.note_file("mp", "cells.csv.gz", done, complete=True)
    found = reference_collections.load("mp")
    assert (found["version"], found["n"], found["checksum"]) == ("v1", 1, "abababababab")
    assert reference_collections.progress("mp", "cells.csv.gz")["read"] == 1
    assert reference_collections.progress("mp", "other.csv.gz") is None
    assert [one["name"] for one in reference_collections.collections()] == ["mp"]


def test_what_is_not_a_crystal_is_refused(database: Session) -> None:
    with pytest.raises(ValueError, match="lacks formula"):
        reference_structures.put("mp", [{k: v for k, v in crystal("a").items() if k != "formula"}])
    with pytest.raises(NotPlain):
        reference_structures.put("mp", [{**crystal("a"), "n_atoms": math.nan}])


@pytest.mark.parametrize(
    "chosen",
    [
        {"reference_id": {"$in": ["a"]}},
        {"chemical_system": {"$in": ["Na"]}},
        {"formula": "Na"},
        {"elements": "Na"},
    ],
)
def test_every_question_has_an_index(database: Session, chosen: dict[str, Any]) -> None:
    others = [crystal(f"x{n}", ("Cl", f"X{n}")) for n in range(50)]
    reference_structures.put("mp", [crystal("a", ("Na",)), *others])
    found = database.database["reference_structures"].find({"collection": "mp", **chosen})
    plan = str(found.explain()["queryPlanner"]["winningPlan"])
    assert all(f"'{name}': 1" in plan for name in ("collection", *chosen))


def full(identifier: str, **changed: Any) -> dict[str, Any]:
    fields = {"role": "train", "fingerprint": b"\0\0\x80?", "fingerprint_version": "v-1"}
    return {**crystal(identifier), **fields, **changed}


def test_crystals_of_formulas_come_with_role_and_fingerprint(database: Session) -> None:
    known = [full("b"), full("a", role="val"), full("c", formula="Na"), full("d", formula="K")]
    reference_structures.put("mp20", known)
    reference_structures.put("other", [full("x")])
    found = reference_structures.of_formulas("mp20", ["Na", "ClNa", "Rb"])
    assert [(one.id, one.formula, one.role) for one in found] == [
        *(("a", "ClNa", "val"), ("b", "ClNa", "train"), ("c", "Na", "train")),
    ]
    assert struct.unpack("<f", found[0].fingerprint) == (1.0,)
    assert found[0].structure == known[1]["structure"]
    trained = reference_structures.of_formulas("mp20", ["ClNa"], {"train"})
    assert [one.id for one in trained] == ["b"]


@pytest.mark.parametrize("role", [None, "train"])
def test_a_crystal_of_an_older_version_is_never_passed_over(
    database: Session, role: str | None
) -> None:
    old = full("old", role=role)
    if role is None:
        del old["role"], old["fingerprint"], old["fingerprint_version"]
    reference_structures.put("mp", [full("new", fingerprint_version="v-2"), old])
    with pytest.raises(OutdatedCollection, match="discovery data import mp"):
        reference_structures.of_formulas("mp", ["ClNa"], {"train"}, fingerprint_version="v-2")


def test_one_id_of_two_places_is_stored_once_and_told(database: Session) -> None:
    def encoded(row: int, formula: str) -> bytes:
        fields = full("a", file="cells.csv.gz", row=row, formula=formula)
        return reference_structures.encode("mp", fields)

    reference_structures.put("mp", [crystal("a")])  # of an older version: without a place
    assert reference_structures.store([encoded(1, "NaCl")]) == {}
    assert reference_structures.store([encoded(1, "NaCl")]) == {}
    assert reference_structures.store([encoded(7, "KCl")]) == {"a": ("cells.csv.gz", 1)}
    (one,) = database.database["reference_structures"].find()
    assert (one["formula"], one["row"]) == ("NaCl", 1)


def test_only_what_was_never_finished_can_be_forgotten(database: Session) -> None:
    reference_structures.put("mp", [crystal("a")])
    reference_structures.put("other", [crystal("a")])
    reference_collections.note("mp", complete=True)
    with pytest.raises(ValueError, match="is complete"):
        reference_collections.forget("mp")
    reference_collections.forget("other")
    left = database.database["reference_structures"].find()
    assert [one["collection"] for one in left] == ["mp"]
