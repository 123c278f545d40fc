"""The part of ``discovery doctor`` that looks at the machine and at what runs on it now.

Nothing is written and nothing is started: an embedded database is asked only where it runs already.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from db.connection import DATABASE_NAME
from db.embedded import ServerRecord, address
from db.owners import is_alive, is_dead
from db.paths import HomeFiles, home_directory
from db.states import CampaignState
from db.uri import DatabaseUnavailable, database_of, normalised
from discovery.doctor.parts import Part

LEAST_GIB = 1.0
"""Below this a campaign stops soon: its database and the raw outputs of DFT need room."""
LITTLE_GIB = 10.0
MOST_SKEW_SECONDS = 5.0
PATIENCE_MS = 3000
CUT_AT = 5
MOST_UNHEARD = 8
"""Messages of one queue that no worker has taken: fewer lie there between two of its turns."""


def disk() -> Part:
    """Look whether there is room where local state and temporary files lie."""
    home = home_directory()
    there = next(folder for folder in (home, *home.parents) if folder.is_dir())
    usage = shutil.disk_usage(there)
    free = usage.free / 2**30
    detail = f"{free:.1f} GiB free of {usage.total / 2**30:.0f} at {there}"
    if not os.access(there, os.W_OK):
        advice = "set DISCOVERY_HOME to a folder that this user may write"
        return Part("disk", "broken", "", f"{there} cannot be written", advice, True)
    if free < LEAST_GIB:
        return Part("disk", "broken", "", detail, "make room, or set DISCOVERY_HOME", True)
    advice = "" if free >= LITTLE_GIB else "little room: raw outputs of DFT take some GiB"
    return Part("disk", "ok", "", detail, advice, True)


def graphics() -> Part:
    """Look for a graphics processor; none is needed."""
    import torch

    if not torch.cuda.is_available():
        detail = "none; potentials run on the processor"
        return Part(
            "gpu", "missing", "", detail, "optional: --device cuda:0 on nodes with one", False
        )
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return Part("gpu", "ok", f"CUDA {torch.version.cuda}", ", ".join(names), "", False)


def running() -> list[Part]:
    """Look at the database that answers now: clock, safety of writes, campaigns, workers."""
    try:
        with _open_database() as database:
            if database is None:
                detail = "no database runs here now"
                return [Part(name, "ok", "", detail, "", False) for name in ("clock", "campaigns")]
            return [_clock(database), _writes(database), _campaigns(database), _workers(database)]
    except (PyMongoError, DatabaseUnavailable) as error:
        detail = f"the database does not answer ({type(error).__name__})"
        return [Part("campaigns", "missing", "", detail, "see the part database", False)]


@contextmanager
def _open_database() -> Iterator[Database[dict[str, Any]] | None]:
    """Open the database that `discovery run` would use, if it runs already."""
    uri, record = os.environ.get("MONGODB_URI"), None
    if not uri:
        record = ServerRecord.read(HomeFiles(home_directory()).record)
        if record is None:
            yield None
            return
        uri = address(Path(record.socket))
    name = database_of(uri) or DATABASE_NAME
    with MongoClient[dict[str, Any]](
        normalised(uri, name),
        serverSelectionTimeoutMS=PATIENCE_MS,
        timeoutMS=PATIENCE_MS,
        tz_aware=True,
    ) as client:
        yield client[name]


def _now(database: Database[dict[str, Any]]) -> datetime:
    """Read the server's clock."""
    hello = database.client.admin.command("hello", codec_options=database.codec_options)
    now: datetime = hello["localTime"]
    return now


def _clock(database: Database[dict[str, Any]]) -> Part:
    before = datetime.now(UTC)
    server = _now(database)
    after = datetime.now(UTC)
    early, late = (before - server).total_seconds(), (server - after).total_seconds()
    skew = max(early, late, 0.0)
    detail = f"differs from the database's by {skew:.1f} s" if skew else "that of the database"
    if skew <= MOST_SKEW_SECONDS:
        return Part("clock", "ok", "", detail, "", False)
    advice = "set this machine's clock (NTP): leases follow the database's, hints this one's"
    return Part("clock", "broken", "", detail, advice, False)


def _writes(database: Database[dict[str, Any]]) -> Part:
    hello = database.client.admin.command("hello")
    concern = database.write_concern.document
    members = len(hello.get("hosts", []))
    detail = (
        f"acknowledged by {concern.get('w')}, journaled: {concern.get('j')}; replica set "
        f"{hello.get('setName')} of {members}"
    )
    if not hello.get("isWritablePrimary"):
        advice = "wait for the election, or look at the replica set: no primary answers"
        return Part("writes", "broken", "", detail, advice, True)
    if concern.get("w") != "majority" or concern.get("j") is not True:
        return Part("writes", "broken", "", detail, "take w and journal out of MONGODB_URI", True)
    return Part("writes", "ok", "", detail, "", True)


def _campaigns(database: Database[dict[str, Any]]) -> Part:
    found = list(database["campaigns"].find({}, {"state": 1, "leader": 1}))
    now = _now(database)
    alone = [
        str(one["_id"])
        for one in found
        if one.get("state") == CampaignState.RUNNING
        and (not one.get("leader") or one["leader"]["expires_at"] < now)
    ]
    number = sum(one.get("state") == CampaignState.RUNNING for one in found)
    detail = f"{len(found)} recorded, {number} running"
    if not alone:
        return Part("campaigns", "ok", "", detail, "", False)
    named = ", ".join(alone[:CUT_AT])
    advice = f"discovery repair {alone[0]}, or discovery run"
    return Part("campaigns", "broken", "", f"{detail}; nobody leads {named}", advice, False)


def _workers(database: Database[dict[str, Any]]) -> Part:
    """Look who holds candidates, and whether hints lie in the broker that nobody hears."""
    held = {"lease.expires_at": {"$type": "date"}}
    running = [
        one["_id"] for one in database["campaigns"].find({"state": str(CampaignState.RUNNING)})
    ]
    owners: set[str] = set()
    for name in running:
        owners |= set(database["candidates"].distinct("lease.owner", {"campaign": name, **held}))
    dead = [owner for owner in owners if is_dead(owner)]
    here = [owner for owner in owners if is_alive(owner)]
    detail = (
        f"{len(owners) - len(dead)} hold candidates now, {len(here)} of them on this machine"
        if owners
        else "none holds a candidate now"
    )
    if dead:
        return Part(
            "workers",
            "broken",
            "",
            f"{detail}; {len(dead)} of this machine died",
            "the loop takes their candidates back within seconds: discovery run",
            False,
        )
    waiting = _unheard() if running else {}
    if waiting:
        queues = ", ".join(f"{queue} ({number})" for queue, number in waiting.items())
        advice = f"start a worker: discovery worker --queue {next(iter(waiting))}"
        return Part("workers", "missing", "", f"{detail}; nobody hears {queues}", advice, False)
    return Part("workers", "ok", "", detail, "", False)


def _unheard() -> dict[str, int]:
    """Count the messages of each queue that lie in the broker; none where it cannot be asked."""
    if not os.environ.get("DISCOVERY_BROKER") and not (home_directory() / "broker").is_dir():
        return {}  # looking there would make it
    from kombu.exceptions import KombuError

    from discovery.workers.celery_app import unheard
    from discovery.workers.processes import QUEUES

    try:
        found = {queue: unheard(queue) for queue in QUEUES}
    except (KombuError, OSError):  # said by the part broker
        return {}
    return {queue: number for queue, number in found.items() if number >= MOST_UNHEARD}
