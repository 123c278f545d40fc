"""The record of each reference collection: its version, its files, how far they were imported."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from pymongo.errors import DuplicateKeyError

from db.connection import current_database
from db.events import server_time
from db.plain import plain
from db.retry import idempotent


class UnknownCollection(ValueError):
    """There is no reference collection of this name, or it is not complete."""


class OutdatedCollection(UnknownCollection):
    """A collection was imported by an older version and lacks what is asked for now."""


class LostImport(RuntimeError):
    """Another import of the same name began with other files, or removed what there was."""


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
