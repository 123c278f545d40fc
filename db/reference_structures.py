"""Reference collections: known crystals of other databases, imported once and then only read."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from pymongo import ReplaceOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

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


#: What the server says when an id is taken.
DUPLICATE_KEY = 11000


class UnknownCollection(ValueError):
    """There is no reference collection of this name, or it is not complete."""


class OutdatedCollection(UnknownCollection):
    """A collection was imported by an older version and lacks what is asked for now."""


class LostImport(RuntimeError):
    """Another import of the same name began with other files, or removed what there was."""


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
def begin(collection: str, files: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Begin an import, or join one of the same files that was not finished.

    Args:
        collection: Name of the collection.
        files: What `note_file` stores of each before anything was read, by name.

    Returns:
        What its writes are marked with (``run``); None: the record is of other files, or is being
        removed.
    """
    collections, run = current_database()["reference_collections"], secrets.token_hex(8)
    entries = {_slug(file): {"file": file, **plain(one, "file")} for file, one in files.items()}
    new = {"run": run, "complete": False, "files": entries}
    try:
        collections.insert_one({"_id": collection, **new})
        return run
    except DuplicateKeyError:
        pass
    chosen = {"_id": collection, "forgetting": {"$ne": True}}
    collections.update_one({**chosen, "run": None}, {"$set": {"run": run}})  # an older version's
    known = collections.find_one(chosen)
    if known is None:
        return None
    there, given = _identities(known.get("files") or {}), _identities(entries)
    same = there == given
    if known.get("complete"):  # by files alone: roles are the importer's to compare
        same = all(given.get(one, (None,))[0] == sha256 for one, (sha256, _) in there.items())
    return str(known["run"]) if same else None


def _identities(files: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[Any, Any]]:
    return {name: (one.get("sha256"), one.get("role")) for name, one in files.items()}


@idempotent
def note(collection: str, *, run: str | None = None, **fields: Any) -> None:
    """Store fields of a collection itself: ``version``, ``source``, ``complete``, ...

    Args:
        collection: Name of the collection.
        run: The import that does it (`begin`); None: whoever does.
        fields: The fields.

    Raises:
        LostImport: It is another import's now.
    """
    _change(collection, run, plain(fields, "collection"))


def _change(collection: str, run: str | None, changed: dict[str, Any]) -> None:
    chosen = {"_id": collection} | ({} if run is None else {"run": run})
    done = current_database()["reference_collections"].update_one(
        chosen, {"$set": {**changed, "updated_at": server_time()}}, upsert=run is None
    )
    if run is not None and not done.matched_count:
        raise _lost(collection)


def _lost(collection: str) -> LostImport:
    return LostImport(
        f"another import of {collection} began with other files or was given up: this one stopped"
    )


@idempotent
def check_run(collection: str, run: str) -> None:
    """Check that an import is still the one that writes.

    Raises:
        LostImport: It is another one.
    """
    if not current_database()["reference_collections"].find_one({"_id": collection, "run": run}):
        raise _lost(collection)


@idempotent
def forget(collection: str) -> None:
    """Remove a collection whose import was never finished, with its crystals.

    Killed in the middle, it leaves a record that says so and names no file; whoever imports next
    removes the rest.

    Raises:
        ValueError: It is complete, and others may refer to its crystals.
    """
    collections, run = current_database()["reference_collections"], secrets.token_hex(8)
    if collections.find_one({"_id": collection, "complete": True}):
        raise ValueError(f"the reference collection {collection} is complete: it is kept")
    collections.update_one(
        {"_id": collection, "complete": {"$ne": True}},
        {"$set": {"run": run, "files": {}, "forgetting": True}},
    )
    if collections.find_one({"_id": collection, "complete": True}):
        raise ValueError(f"the reference collection {collection} is complete: it is kept")
    current_database()["reference_structures"].delete_many({"collection": collection})
    collections.delete_one({"_id": collection, "run": run, "complete": {"$ne": True}})


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


@idempotent
def note_file(
    collection: str, file: str, values: dict[str, Any], *, run: str | None = None, **fields: Any
) -> None:
    """Store how far a file of a collection was imported.

    Args:
        collection: Name of the collection.
        file: Name of the file.
        values: ``sha256``, ``role``, ``read`` (rows), ``bad`` (a list) and ``n_bad``,
            ``fingerprint_version``, ``complete``; ``reading``, if it is read in a special way.
        run: The import that does it (`begin`); None: whoever does.
        fields: Fields of the collection itself: ``version``, ``source``, ``complete``, ...

    Raises:
        LostImport: It is another import's now.
    """
    entry = {f"files.{_slug(file)}": {"file": file, **plain(values, "file")}}
    _change(collection, run, {**plain(fields, "collection"), **entry})


@idempotent
def collections() -> list[dict[str, Any]]:
    """List the collections by name, with ``n`` crystals and how far each file was imported."""
    found = current_database()["reference_collections"].find().sort("_id")
    return [_described(document) for document in found]


@idempotent
def describe(collection: str) -> dict[str, Any] | None:
    """Describe one collection, complete or not; None if there is none."""
    found = current_database()["reference_collections"].find_one({"_id": collection})
    return None if found is None else _described(found)


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


def _described(document: dict[str, Any]) -> dict[str, Any]:
    name = document["_id"]
    files = [one for _, one in sorted((document.get("files") or {}).items())]
    return {
        "name": name,
        "version": document.get("version"),
        "source": document.get("source"),
        "complete": bool(document.get("complete")),
        "fingerprint_version": document.get("fingerprint_version"),
        "retrieved": document.get("retrieved"),
        "checksum": "-".join(one["sha256"][:12] for one in files),
        "n": current_database()["reference_structures"].count_documents({"collection": name}),
        "files": files,
        "updated_at": document.get("updated_at"),
    }


def _slug(file: str) -> str:
    return file.replace(".", "_").lstrip("$")
