"""Putting a campaign back: written beside all others, and there for them only when it is complete.

A marker of the campaign's name comes first, in state ``restoring``: until `finish` puts the
campaign's own record in its place, `db.campaigns.load` refuses the name to everybody. A restoration
that was killed leaves its marker; the next one of that name removes what it wrote and starts again.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import gridfs
from bson import ObjectId
from pymongo import InsertOne
from pymongo.client_session import ClientSession
from pymongo.errors import BulkWriteError, DuplicateKeyError

from db import model_versions, settled
from db.connection import current_database
from db.events import server_time
from db.leases import from_now
from db.migrations import VERSION, add_property_tables
from db.owners import is_alive, is_dead
from db.states import CalculationState, CampaignState

Document = dict[str, Any]

SECONDS = 120
BATCH = 500
DUPLICATE_KEY = 11000
REPLACED = (str(CalculationState.FAILED), str(CalculationState.SUBMITTING))
"""States of calculations whose place a completed one takes."""
_OVER = ("COMPLETED", "FIZZLED", "DEFUSED", "ARCHIVED")  # of a Firework
#: What stays as it is here: who asked, who pays, and which Firework it was.
_KEPT = ("_id", "candidates", "control", "created_at", "fw_id")
OWNED = ("candidates", "generations", "events", "model_versions")
"""Collections whose documents name their campaign in the field ``campaign``."""


class CampaignExists(ValueError):
    """There is a campaign of this name already."""

    exit_code = 2


class RestorationLost(RuntimeError):
    """Another process restores a campaign of this name since."""


class Restoration:
    """A campaign on its way into the database.

    Args:
        name: What the campaign will be called here.
        owner: Name of this process (`db.owners.owner_name`).

    Attributes:
        finished: Whether the campaign is there.

    Raises:
        CampaignExists: There is a campaign of this name, or somebody restores one at this moment.
    """

    def __init__(self, name: str, owner: str) -> None:
        self.name = name
        self.owner = owner
        self.finished = False
        self._token = 0  # no marker yet
        self._renewed = time.monotonic()
        self._begin()
        self._remove()

    def insert(self, collection: str, documents: Iterable[Document]) -> int:
        """Insert documents of the campaign.

        Args:
            collection: One of `OWNED`, ``optuna_journal`` or ``counters``.
            documents: With their own ``_id``, which is the same whenever they are restored under
                this name: one that a restoration wrote too late, after it was taken over, stands.

        Returns:
            How many.

        Raises:
            RestorationLost: See there.
        """
        count = 0
        for batch in _batches(documents):
            self._renew()
            try:
                current_database()[collection].bulk_write(
                    [InsertOne(document) for document in batch], ordered=False
                )
            except BulkWriteError as error:
                if any(one["code"] != DUPLICATE_KEY for one in error.details["writeErrors"]):
                    raise
            count += len(batch)
        return count

    def insert_model(self, document: Document, payload: bytes) -> None:
        """Insert a model version, its weights first."""
        self._renew()
        identifier = _bucket().upload_from_stream(document["_id"], payload)
        current_database()["model_versions"].insert_one({**document, "payload": identifier})

    def known_calculations(self, hashes: Iterable[str]) -> dict[str, Document]:
        """Return which calculations the database has already, by hash.

        Returns:
            Of each ``state``, ``result`` and ``outputs``.
        """
        found = current_database()["calculations"].find(
            {"_id": {"$in": list(hashes)}}, {"state": 1, "result": 1, "outputs": 1}
        )
        return {one["_id"]: one for one in found}

    def move_outputs(self, document: Document, folder: str) -> None:
        """Say where the files of a completed calculation are, unless that was changed meanwhile.

        Args:
            document: The calculation with its new ``outputs``.
            folder: Where its files were.
        """
        self._renew()
        current_database()["calculations"].update_one(
            {
                **{"_id": document["_id"], "state": str(CalculationState.COMPLETED)},
                "outputs.folder": folder,
            },
            {"$set": {"outputs": document["outputs"]}},
        )

    def add_calculations(self, documents: Iterable[Document]) -> int:
        """Insert calculations that the database has not; of others, note whose they are too.

        A completed calculation takes the place of one that failed or was not queued here. One
        that is in the queue stays as it is: its launch answers for it.

        Returns:
            How many are new here, or completed now.
        """
        calculations, changed = current_database()["calculations"], 0
        for batch in _batches(documents):
            self._renew()
            for document in batch:
                written = calculations.update_one(
                    {"_id": document["_id"]}, {"$setOnInsert": document}, upsert=True
                )
                if written.upserted_id is not None:
                    changed += 1
                    continue
                links = {"candidates": {"$each": document["candidates"]}}
                calculations.update_one({"_id": document["_id"]}, {"$addToSet": links})
                if document["state"] == CalculationState.COMPLETED:
                    changed += self._complete(document)
        return changed

    def _complete(self, document: Document) -> int:
        """Put a completed calculation in the place of one that failed or was not queued."""
        calculations, name = current_database()["calculations"], document["_id"]
        while True:
            here = calculations.find_one({"_id": name}) or {}
            if here.get("state") not in REPLACED or _is_queued(name):
                return 0
            unchanged = {"_id": name, "state": here["state"], "history": here.get("history")}
            done = calculations.update_one(unchanged, {"$set": _completed(document, here)})
            if done.matched_count:
                return 1

    def finish(self, document: Document, *, records: int, waiting: Iterable[Document] = ()) -> int:
        """Put the campaign's own record in the place of the marker; from now on it is there.

        Calculations that wait to be queued come at the same moment, in one transaction: whoever
        queues what waits pays for it, so none may be there for a campaign that is not.

        Args:
            document: The record, with the ``_id`` of this restoration.
            records: Version of the records that were inserted (`db.migrations`).
            waiting: Calculations that are to be queued.

        Returns:
            How many of these are new here.

        Raises:
            RestorationLost: See there.
        """
        self._renew()
        if records < VERSION:
            add_property_tables(current_database())
        calculations = list(waiting)
        with current_database().client.start_session() as session:
            new = session.with_transaction(lambda one: self._finish(document, calculations, one))
        self.finished = True
        return new

    def _finish(
        self, document: Document, waiting: Iterable[Document], session: ClientSession
    ) -> int:
        database, new = current_database(), 0
        done = database["campaigns"].replace_one(
            {"_id": self.name, "state": str(CampaignState.RESTORING), "token": self._token},
            {**document, "_id": self.name},
            session=session,
        )
        if not done.matched_count:
            raise self._lost()
        for one in waiting:
            written = database["calculations"].update_one(
                {"_id": one["_id"]},
                {
                    "$setOnInsert": {key: one[key] for key in one if key != "candidates"},
                    "$addToSet": {"candidates": {"$each": one["candidates"]}},
                },
                upsert=True,
                session=session,
            )
            new += written.upserted_id is not None
        return new

    def renew(self) -> None:
        """Keep the name while something takes long; may be called as often as one likes.

        Raises:
            RestorationLost: See there.
        """
        if time.monotonic() - self._renewed > SECONDS / 4:
            self._renew()

    def abandon(self) -> None:
        """Remove everything that was written, the marker last; nothing where it is finished.

        Raises:
            RestorationLost: See there.
        """
        if self.finished:
            return
        self._renew()
        self._remove()
        current_database()["campaigns"].delete_one(
            {"_id": self.name, "state": str(CampaignState.RESTORING), "token": self._token}
        )

    def _begin(self) -> None:
        """Write the marker, or take it over from a process that died."""
        campaigns, now = current_database()["campaigns"], server_time()
        marker: Document = {
            "_id": self.name,
            "state": str(CampaignState.RESTORING),
            **{"config": {}, "resolved": {}, "progress": {}, "stop_reason": None, "seed": 0},
            **{"live_model": None, "token": 1, "created_at": now, "updated_at": now},
        }
        try:
            campaigns.insert_one({**marker, "leader": {"owner": self.owner, "expires_at": now}})
        except DuplicateKeyError:
            self._take_over()
            return
        self._token = 1
        self._renew()
        if current_database()["candidates"].find_one({"campaign": self.name}, {"_id": 1}):
            campaigns.delete_one({"_id": self.name, "token": 1})
            raise CampaignExists(
                f"there are candidates of a campaign {self.name!r}, but no record of it: restore "
                "under another name with --as"
            )

    def _take_over(self) -> None:
        campaigns = current_database()["campaigns"]
        found = campaigns.find_one({"_id": self.name}) or {}
        if found.get("state") != CampaignState.RESTORING:
            raise CampaignExists(
                f"there is a campaign {self.name!r} already: restore under another name with --as"
            )
        owner, ends = found["leader"]["owner"], found["leader"]["expires_at"]
        gone = is_dead(owner) or (ends <= server_time() and not is_alive(owner))
        if not gone:
            raise CampaignExists(
                f"campaign {self.name!r} is being restored by {owner}: wait for it, or stop it"
            )
        token = int(found["token"]) + 1
        taken = campaigns.update_one(
            {"_id": self.name, "token": found["token"], "state": found["state"]},
            [{"$set": {"token": token, "leader": self._held()}}],
        )
        if not taken.matched_count:
            raise self._lost()
        self._token = token

    def _held(self) -> Document:
        return {"owner": {"$literal": self.owner}, "expires_at": from_now(SECONDS)}

    def _renew(self) -> None:
        done = current_database()["campaigns"].update_one(
            {"_id": self.name, "state": str(CampaignState.RESTORING), "token": self._token},
            [{"$set": {"leader": self._held(), "updated_at": "$$NOW"}}],
        )
        if not done.matched_count:
            raise self._lost()
        self._renewed = time.monotonic()

    def _remove(self) -> None:
        """Remove what an earlier restoration of this name left; calculations stay, they are paid.

        None of them waits for anything: those that are not finished come with the campaign.
        """
        database = current_database()
        for collection in OWNED:
            database[collection].delete_many({"campaign": self.name})
        settled.forget(self.name)
        database["optuna_journal"].delete_many({"journal": self.name})
        database["counters"].delete_one({"_id": counter(self.name)})
        own = re.compile(f"^{re.escape(self.name)}-[0-9a-f]{{12}}$")
        for file in database[f"{model_versions.BUCKET}.files"].find({"filename": own}, {"_id": 1}):
            _bucket().delete(file["_id"])

    def _lost(self) -> RestorationLost:
        return RestorationLost(f"another process restores {self.name!r} since: this one stops")


def _completed(document: Document, here: Document) -> Document:
    """Return what a completed calculation changes of the one whose place it takes.

    What was paid here stays paid, by whom it was paid.
    """
    spent = here.get("attempts") or []
    told = [_payless(one) for one in spent]
    added = [one for one in document.get("attempts") or [] if _payless(one) not in told]
    entry = {"from": here["state"], "to": document["state"], "by": "restore"}
    entry |= {"note": "completed in a backup", "at": server_time()}
    payer = {"campaign": (here.get("info") or {}).get("campaign")}
    return {
        **{name: value for name, value in document.items() if name not in _KEPT},
        "info": {**document["info"], **payer},
        "attempts": [*spent, *added],
        "history": [*(here.get("history") or []), entry],
    }


def _payless(attempt: Mapping[str, Any]) -> Document:
    return {name: value for name, value in attempt.items() if name != "campaign"}


def _is_queued(hash: str) -> bool:
    """Say whether a Firework of a calculation waits or runs."""
    waiting = {"spec.hash": hash, "state": {"$nin": list(_OVER)}}
    return current_database()["fireworks"].find_one(waiting, {"_id": 1}) is not None


def counter(campaign: str) -> str:
    """Return the name of the counter of a campaign's candidates."""
    return f"seq/{campaign}"


def require_free(name: str) -> None:
    """Refuse a name that a campaign has; for a quick answer before anything is read.

    Raises:
        CampaignExists: There is one.
    """
    found = current_database()["campaigns"].find_one({"_id": name}, {"state": 1})
    if found is not None and found["state"] != CampaignState.RESTORING:
        raise CampaignExists(
            f"there is a campaign {name!r} already: restore under another name with --as"
        )


def numbered(
    campaign: str, collection: str, documents: Iterable[Mapping[str, Any]]
) -> Iterator[Document]:
    """Replace the ids that the database gave, so that copies can lie beside each other.

    Args:
        campaign: What the campaign is called here.
        collection: What the documents are.
        documents: In an order that is always the same, as are their new ids.
    """
    prefix = hashlib.sha256(f"{collection}/{campaign}".encode()).digest()[:8]
    for number, document in enumerate(documents):
        yield {**document, "_id": ObjectId(prefix + number.to_bytes(4, "big"))}


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    waiting = iter(documents)
    while batch := list(islice(waiting, BATCH)):
        yield batch


def _bucket() -> gridfs.GridFSBucket:
    return gridfs.GridFSBucket(current_database(), bucket_name=model_versions.BUCKET)
