"""Crystals of the reference collections: imported once, and then only read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from pymongo import ReplaceOne
from pymongo.errors import BulkWriteError

from db.connection import current_database
from db.plain import plain
from db.reference_collections import OutdatedCollection
from db.retry import idempotent

REQUIRED = frozenset(
    {"reference_id", "formula", "chemical_system", "elements", "n_atoms", "structure", "checksum"}
)
#: Ids or chemical systems in one query.
AT_ONCE = 1000
#: Bad rows that are kept in the record; more are only counted.
BAD_ROWS_KEPT = 100


#: What the server says when an id is taken.
DUPLICATE_KEY = 11000


@dataclass(frozen=True)
class KnownRecord:
    """A known crystal, as it is compared with others.

    Attributes:
        id: Its id in the collection.
        formula: pymatgen's reduced formula.
        role: ``train``, ``val`` or ``test`` of a data set, else ``known``.
        structure: For `db.crystals.record_to_structure`.
        fingerprint: Little-endian float32.
        fingerprint_version: Name of its definition.
    """

    id: str
    formula: str
    role: str
    structure: dict[str, Any]
    fingerprint: bytes
    fingerprint_version: str


def key(collection: str, identifier: str) -> str:
    """Return the primary key of a crystal."""
    return f"{collection}:{identifier}"


def encode(collection: str, crystal: Mapping[str, Any]) -> bytes:
    """Check a crystal and write it as it is stored; needs no connection.

    Args:
        collection: Name of the collection.
        crystal: ``reference_id`` (its id in the collection), ``formula``, ``chemical_system``,
            ``elements``, ``n_atoms``, ``structure`` (`db.crystals.structure_to_record`) and
            ``checksum``; optional ``source``, ``role``, ``properties``, ``fingerprint`` (bytes)
            with ``fingerprint_version``, and ``file`` with ``row``, where it was read.

    Returns:
        The document, for `store`.

    Raises:
        ValueError: A field is missing or not plain JSON.
    """
    if missing := sorted(REQUIRED - set(crystal)):
        raise ValueError(f"the crystal {crystal.get('reference_id')!r} lacks {', '.join(missing)}")
    fields = dict(crystal)
    binary = {"fingerprint": fields.pop("fingerprint")} if "fingerprint" in fields else {}
    name = key(collection, crystal["reference_id"])
    return bson.encode(
        {"_id": name, "collection": collection, **plain(fields, "crystal"), **binary}
    )


@idempotent
def store(documents: Sequence[bytes]) -> dict[str, tuple[str | None, int | None]]:
    """Store crystals; one of the same id from the same place is replaced.

    Repeating does no harm: the place is ``file`` and ``row``. A crystal without a place replaces
    whatever has its id, and one that was stored without a place is replaced by any.

    Args:
        documents: As `encode` wrote them.

    Returns:
        The ids that were not stored because a crystal from another place has them, with that place.
    """
    raw = [RawBSONDocument(document) for document in documents]
    if not raw:
        return {}
    changes = [ReplaceOne[Any](_replaceable(one), one, upsert=True) for one in raw]
    crystals = current_database()["reference_structures"]
    try:
        crystals.bulk_write(changes, ordered=False)
        return {}
    except BulkWriteError as error:
        failures = error.details["writeErrors"]
        if any(one["code"] != DUPLICATE_KEY for one in failures):
            raise
    refused = {raw[one["index"]]["_id"]: raw[one["index"]] for one in failures}
    shown = {"reference_id": 1, "file": 1, "row": 1}
    there = crystals.find({"_id": {"$in": list(refused)}}, shown)
    return {
        one["reference_id"]: place
        for one in there
        # The same place: somebody imports the same file at the same time.
        if (place := _place(one)) != _place(refused[one["_id"]])
    }


def _replaceable(document: Mapping[str, Any]) -> dict[str, Any]:
    """Select the crystal that a document may replace."""
    chosen: dict[str, Any] = {"_id": document["_id"]}
    if "file" in document:
        chosen |= {name: {"$in": [document[name], None]} for name in ("file", "row")}
    return chosen


def _place(document: Mapping[str, Any]) -> tuple[str | None, int | None]:
    return document.get("file"), document.get("row")


def put(collection: str, crystals: Sequence[Mapping[str, Any]]) -> None:
    """Store crystals; one that is there already is replaced, so repeating does no harm.

    Args:
        collection: Name of the collection.
        crystals: See `encode`, without a place.

    Raises:
        ValueError: A field is missing or not plain JSON.
    """
    store([encode(collection, crystal) for crystal in crystals])


@idempotent
def remove_outdated(collection: str, fingerprint_version: str) -> int:
    """Remove the crystals of a collection without a fingerprint of this definition.

    Returns:
        How many these were.
    """
    chosen = {"collection": collection, "fingerprint_version": {"$ne": fingerprint_version}}
    return current_database()["reference_structures"].delete_many(chosen).deleted_count


@idempotent
def remove_rows(collection: str, file: str, rows: Sequence[int]) -> None:
    """Remove the crystals of rows that an older version took for ones and this one does not."""
    if rows:
        chosen = {"collection": collection, "file": file, "row": {"$in": list(rows)}}
        current_database()["reference_structures"].delete_many(chosen)


def of_systems(collection: str, chemical_systems: Sequence[str]) -> list[tuple[str, str, int]]:
    """Return (reference id, formula, n_atoms) of the crystals of chemical systems, by id.

    Only the index is read.
    """
    shown = {"_id": 0, "reference_id": 1, "formula": 1, "n_atoms": 1}
    found = _in_chunks(collection, "chemical_system", chemical_systems, shown)
    return sorted((one["reference_id"], one["formula"], one["n_atoms"]) for one in found)


def of_formulas(
    collection: str,
    formulas: Sequence[str],
    roles: Collection[str] | None = None,
    *,
    fingerprint_version: str | None = None,
) -> list[KnownRecord]:
    """Return the crystals with reduced formulas, ordered by formula and id.

    Args:
        collection: Name of the collection.
        formulas: Reduced formulas (pymatgen's).
        roles: Roles that count; None: all.
        fingerprint_version: Definition that all fingerprints must have; None: any.

    Raises:
        OutdatedCollection: A crystal has no role or fingerprint, or one of another definition.
    """
    shown = {"_id": 0, "reference_id": 1, "formula": 1, "structure": 1, "role": 1} | {
        "fingerprint": 1,
        "fingerprint_version": 1,
    }
    found = []
    for one in _in_chunks(collection, "formula", formulas, shown):
        role, version = one.get("role"), one.get("fingerprint_version")
        if role is None or version is None or (fingerprint_version or version) != version:
            raise OutdatedCollection(
                f"the crystal {one['reference_id']} of the reference collection {collection} has "
                f"the role {role} and the fingerprint {version}, as an older version imported it: "
                f"`discovery data import {collection}` (or its file, with --name {collection}) "
                "brings it up to date"
            )
        if roles is None or role in roles:
            record = KnownRecord(id=one.pop("reference_id"), **one)
            found.append(record)
    return sorted(found, key=lambda one: (one.formula, one.id))


def structures(collection: str, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return crystal records by id; those that are not there are left out."""
    shown = {"_id": 0, "reference_id": 1, "structure": 1}
    found = _in_chunks(collection, "reference_id", ids, shown)
    return {one["reference_id"]: one["structure"] for one in found}


def _in_chunks(
    collection: str, field: str, values: Sequence[str], shown: dict[str, int]
) -> Iterator[dict[str, Any]]:
    for start in range(0, len(values), AT_ONCE):
        yield from _read(collection, field, list(values[start : start + AT_ONCE]), shown)


@idempotent
def _read(
    collection: str, field: str, values: list[str], shown: dict[str, int]
) -> list[dict[str, Any]]:
    chosen = {"collection": collection, field: {"$in": values}}
    return list(current_database()["reference_structures"].find(chosen, shown))
