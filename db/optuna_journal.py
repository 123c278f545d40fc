"""Optuna studies in the same database: a journal for `optuna.storages.JournalStorage`.

    from optuna.storages import JournalStorage
    storage = JournalStorage(MongoJournalBackend("my-campaign"))

Everything that ever happened to the studies of a journal is a sequence of *logs*, which Optuna
replays. A log is one document, numbered without holes; a unique index on journal and number lets
one of two writers take a number, and the other takes the next.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from bson import ObjectId
from optuna.storages.journal import BaseJournalBackend
from pymongo import ASCENDING, DESCENDING
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from db.connection import current_database
from db.retry import idempotent

COLLECTION = "optuna_journal"
ONCE = "discovery:once"
"""User attribute of a trial or study: a second log with the same value is refused."""


class AlreadyLogged(ValueError):
    """A log names itself (`ONCE`), and the journal has one of that name."""


class MongoJournalBackend(BaseJournalBackend):
    """Keeps the logs of one journal in the connected database (`db.connection.connect`).

    Any number of processes may write and read at once. Logs are acknowledged by a majority and read
    from what a majority has, so a number once read never changes, whatever server is lost. A
    process killed while it appends several logs leaves the first ones, as if the others had never
    been asked for; an append that is repeated because the connection broke happens once.

    Logs are kept as JSON text, as in Optuna's own journals, because documents cannot hold every key
    and number that JSON can. There are no snapshots: Optuna's are pickles, and whoever can write
    the database could then run code in whoever reads it. Reading is linear in the number of logs.

    Attributes:
        journal: name of the journal; a campaign's studies are in the one of its own name.
    """

    def __init__(self, journal: str) -> None:
        """Open a journal, which is empty before the first log.

        Args:
            journal: its name.
        """
        self.journal = journal
        collection = self._collection()
        place = [("journal", ASCENDING), ("number", ASCENDING)]
        collection.create_index(place, unique=True)
        collection.create_index(
            [("journal", ASCENDING), ("once", ASCENDING)],
            unique=True,
            partialFilterExpression={"once": {"$type": "string"}},
        )

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        """Return the logs from a number on, in order."""
        return [json.loads(text) for text in self._texts(log_number_from)]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append logs in order; those of other writers may come between them.

        Args:
            logs: serialisable as JSON.

        Raises:
            AlreadyLogged: if one carries the attribute `ONCE` with a value that the journal has;
                those before it were appended.
        """
        # The identifiers are made before the first attempt: a repeated one meets its own document.
        for log in logs:
            self._append(ObjectId(), _once(log), json.dumps(log))

    @idempotent
    def _texts(self, start: int) -> list[str]:
        chosen = {"journal": self.journal, "number": {"$gte": start}}
        found = self._collection().find(chosen, {"text": 1}).sort("number", ASCENDING)
        return [document["text"] for document in found]

    @idempotent
    def _append(self, identifier: ObjectId, once: str | None, text: str) -> None:
        """Write one log with the next free number, unless this very one is there already."""
        collection = self._collection()
        document = {"_id": identifier, "journal": self.journal, "text": text}
        if once is not None:
            document["once"] = once
        while True:
            newest = collection.find_one(
                {"journal": self.journal}, {"number": 1}, sort=[("number", DESCENDING)]
            )
            number = 0 if newest is None else newest["number"] + 1
            try:
                collection.insert_one(document | {"number": number})
            except DuplicateKeyError as error:
                taken = set((error.details or {}).get("keyPattern", {}))
                if "number" in taken:
                    continue
                if "once" in taken:
                    raise AlreadyLogged(f"journal {self.journal} has the log {once!r}") from None
                if "_id" not in taken:
                    raise
            return

    def _collection(self) -> Collection[dict[str, Any]]:
        return current_database().get_collection(
            COLLECTION,
            read_concern=ReadConcern("majority"),
            write_concern=WriteConcern("majority", j=True),
        )


def delete_journal(journal: str) -> int:
    """Delete a journal with all its studies, and return how many logs it had."""
    found = current_database()[COLLECTION].delete_many({"journal": journal})
    return int(found.deleted_count)


def _once(log: dict[str, Any]) -> str | None:
    """Return the value under which a log may be in the journal once only, if it names one."""
    attributes: Sequence[Any] = (log.get("user_attrs"), log.get("user_attr"))
    for found in attributes:
        if isinstance(found, dict) and isinstance(found.get(ONCE), str):
            return str(found[ONCE])
    return None
