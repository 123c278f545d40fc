"""Bringing the records of older versions up to date, once for each database."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from pymongo import UpdateOne
from pymongo.database import Database

from db.property_table import table_fields
from db.retry import idempotent

#: 2: candidates have the fields of `db.property_table.table_fields`.
VERSION = 2
BATCH = 1000
_MISSING = {"element_pairs": {"$exists": False}}  # written last, and by every version since
_READ = {"state": 1, "token": 1, "predictions": 1, "verification": 1, "elements": 1}


def migrate(database: Database[dict[str, Any]]) -> None:
    """Bring a database to the present version; nothing is done where it has it.

    Any number of processes may do so at once, and again after a crash: each write is a
    compare-and-set, and the version is written after the last of them. Processes of an older
    version must have stopped: what they write afterwards lacks the new fields.

    Args:
        database: The connected database.
    """
    if is_migrated(database):
        return
    add_property_tables(database)
    newest = {"$max": {"version": VERSION}}
    database["schema"].update_one({"_id": "candidates"}, newest, upsert=True)


def add_property_tables(database: Database[dict[str, Any]]) -> None:
    """Add the derived fields of `db.property_table` to the candidates that lack them."""
    while _add_property_tables(database):
        pass


def is_migrated(database: Database[dict[str, Any]]) -> bool:
    """Say whether a database has the present version."""
    found = database["schema"].find_one({"_id": "candidates"})
    return found is not None and bool(found["version"] >= VERSION)


@idempotent
def _add_property_tables(database: Database[dict[str, Any]]) -> bool:
    """Add the derived fields where they are missing; True where some may be left."""
    collection = database["candidates"]
    documents = iter(collection.find(_MISSING, _READ))
    some = False
    while writes := list(islice(_writes(documents), BATCH)):
        some = True
        collection.bulk_write(writes, ordered=False)
    return some


def _writes(documents: Iterator[dict[str, Any]]) -> Iterator[UpdateOne]:
    for document in documents:
        unchanged = {name: document[name] for name in ("_id", "state", "token")}
        yield UpdateOne({**unchanged, **_MISSING}, {"$set": table_fields(document)})
