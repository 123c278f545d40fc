"""Reference collections: known crystals of other databases, imported once and then only read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pymongo import ReplaceOne

from db.connection import current_database
from db.events import server_time
from db.plain import plain
from db.retry import idempotent

REQUIRED = frozenset(
    {"reference_id", "formula", "chemical_system", "elements", "n_atoms", "structure", "checksum"}
)
#: Ids or chemical systems in one query.
AT_ONCE = 1000
#: Bad rows that are kept in the record; more are only counted.
BAD_ROWS_KEPT = 100


class UnknownCollection(ValueError):
    """There is no reference collection of this name, or it is not complete."""


def key(collection: str, identifier: str) -> str:
    """Return the primary key of a crystal."""
    return f"{collection}:{identifier}"


@idempotent
def put(collection: str, crystals: Sequence[dict[str, Any]]) -> None:
    """Store crystals; one that is there already is replaced, so repeating does no harm.

    Args:
        collection: Name of the collection.
        crystals: Each with ``reference_id`` (its id in the collection), ``formula``,
            ``chemical_system``, ``elements``, ``n_atoms``, ``structure``
            (`db.crystals.structure_to_record`), ``checksum``, and ``source``.

    Raises:
        ValueError: A field is missing or not plain JSON.
    """
    changes = []
    for crystal in crystals:
        if missing := sorted(REQUIRED - set(crystal)):
            raise ValueError(
                f"the crystal {crystal.get('reference_id')!r} lacks {', '.join(missing)}"
            )
        name = key(collection, crystal["reference_id"])
        document = {"_id": name, "collection": collection, **plain(crystal, "crystal")}
        changes.append(ReplaceOne({"_id": name}, document, upsert=True))
    if changes:
        current_database()["reference_structures"].bulk_write(changes, ordered=False)


@idempotent
def note_file(collection: str, file: str, values: dict[str, Any], **fields: Any) -> None:
    """Store how far a file of a collection was imported.

    Args:
        collection: Name of the collection.
        file: Name of the file.
        values: ``sha256``, ``read`` (rows), ``stored``, ``bad`` (a list), ``complete``.
        fields: Fields of the collection itself: ``version``, ``source``, ``complete``.
    """
    changed = {
        **plain(fields, "collection"),
        f"files.{_slug(file)}": {"file": file, **plain(values, "file")},
        "updated_at": server_time(),
    }
    current_database()["reference_collections"].update_one(
        {"_id": collection}, {"$set": changed}, upsert=True
    )


@idempotent
def collections() -> list[dict[str, Any]]:
    """List the collections by name, with ``n`` crystals and how far each file was imported."""
    found = current_database()["reference_collections"].find().sort("_id")
    return [_described(document) for document in found]


@idempotent
def load(collection: str) -> dict[str, Any]:
    """Describe one complete collection.

    Raises:
        UnknownCollection: There is none of this name, or its import was not finished.
    """
    found = current_database()["reference_collections"].find_one({"_id": collection})
    if found is None or not found.get("complete"):
        state = "was not finished" if found else "has not been done"
        raise UnknownCollection(
            f"the import of the reference collection {collection} {state}: "
            f"run `discovery data import {collection}`"
        )
    return _described(found)


@idempotent
def progress(collection: str, file: str) -> dict[str, Any] | None:
    """Return what `note_file` stored, or None."""
    found = current_database()["reference_collections"].find_one({"_id": collection})
    return None if found is None else (found.get("files") or {}).get(_slug(file))


def of_systems(collection: str, chemical_systems: Sequence[str]) -> list[tuple[str, str, int]]:
    """Return (reference id, formula, n_atoms) of the crystals of chemical systems, by id.

    Only the index is read.
    """
    shown = {"_id": 0, "reference_id": 1, "formula": 1, "n_atoms": 1}
    found = _in_chunks(collection, "chemical_system", chemical_systems, shown)
    return sorted((one["reference_id"], one["formula"], one["n_atoms"]) for one in found)


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


def _described(document: dict[str, Any]) -> dict[str, Any]:
    name = document["_id"]
    files = [one for _, one in sorted((document.get("files") or {}).items())]
    return {
        "name": name,
        "version": document.get("version"),
        "source": document.get("source"),
        "complete": bool(document.get("complete")),
        "checksum": "-".join(one["sha256"][:12] for one in files),
        "n": current_database()["reference_structures"].count_documents({"collection": name}),
        "files": files,
        "updated_at": document.get("updated_at"),
    }


def _slug(file: str) -> str:
    return file.replace(".", "_").lstrip("$")
