"""Who works on a campaign now, and what waits: read from leases and launches, by indexes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from db import queries
from db.connection import current_database
from db.leases import BY_LEASE
from db.owners import is_alive, is_dead, names_one_process
from db.retry import idempotent
from db.states import State
from discovery.metrics.collector import QUEUES, oldest_seconds

#: Leases and launches that are looked at; a campaign holds far fewer at a time.
MOST_LEASES = 10_000
MOST_LAUNCHES = 500


@dataclass(frozen=True)
class Queue:
    """One queue of a campaign.

    Attributes:
        name: Of the queue.
        waiting: Candidates in its states, those that a worker holds included.
        held: Candidates that a worker holds.
        oldest_seconds: How long the one that was proposed first is in its state.
    """

    name: str
    waiting: int
    held: int
    oldest_seconds: float


@dataclass(frozen=True)
class Worker:
    """A process that holds candidates or runs a calculation.

    Attributes:
        name: Machine and process.
        task: What it does, in words.
        health: ``runs`` or ``died`` (both of this machine), or ``not of this machine``.
    """

    name: str
    task: str
    health: str


def workforce(campaign: str, now: datetime) -> tuple[list[Queue], list[Worker]]:
    """Read queues and workers of a campaign.

    Args:
        campaign: Its name.
        now: The time of the database's clock.
    """
    held = _held(campaign)
    by_state: Counter[str] = Counter()
    for (_, state), number in held.items():
        by_state[state] += number
    queues = [
        Queue(
            name=name,
            waiting=sum(queries.count_state(campaign, state) for state in states),
            held=sum(by_state[str(state)] for state in states),
            oldest_seconds=oldest_seconds(campaign, states, now),
        )
        for name, states in QUEUES.items()
    ]
    tasks: dict[str, list[str]] = {}
    for (owner, state), number in sorted(held.items()):
        tasks.setdefault(owner, []).append(f"holds {number} {state}")
    workers = [Worker(_plain(one), ", ".join(does), _health(one)) for one, does in tasks.items()]
    return queues, [*workers, *_launchers(campaign)]


@idempotent
def _held(campaign: str) -> Counter[tuple[str, str]]:
    """Count the leased candidates by owner and state."""
    leased = {
        "campaign": campaign,
        "state": {"$in": [str(state) for state in State]},
        "lease.expires_at": {"$type": "date"},
    }
    found = current_database()["candidates"].find(
        leased, {"lease.owner": 1, "state": 1}, hint=BY_LEASE, limit=MOST_LEASES
    )
    return Counter((str(one["lease"]["owner"]), str(one["state"])) for one in found)


@idempotent
def _launchers(campaign: str) -> list[Worker]:
    """List the launchers that run a calculation of the campaign now, by FireWorks' records."""
    database = current_database()
    running = list(
        database["launches"].find(
            {"state": "RUNNING"},
            {"fworker.name": 1, "fw_id": 1, "state_history": 1},
            limit=MOST_LAUNCHES,
        )
    )
    numbers = [one["fw_id"] for one in running]
    ours = {
        one["fw_id"]: one.get("formula") or "a crystal"
        for one in database["calculations"].find(
            {"fw_id": {"$in": numbers}, "info.campaign": campaign}, {"fw_id": 1, "formula": 1}
        )
    }
    workers = []
    for one in running:
        if one["fw_id"] not in ours:
            continue
        owner = str(one["fworker"]["name"])
        task = f"calculates {ours[one['fw_id']]} (Firework {one['fw_id']}){_since(one)}"
        workers.append(Worker(_plain(owner), task, _health(owner)))
    return workers


def _since(launch: dict[str, Any]) -> str:
    """Say when a launch began."""
    started = [
        entry["created_on"]
        for entry in launch.get("state_history", [])
        if entry.get("state") == "RUNNING" and "created_on" in entry
    ]
    if not started:
        return ""
    at = datetime.fromisoformat(str(started[0])).replace(tzinfo=UTC)
    return f" since {at:%H:%M:%S} UTC"


def _plain(owner: str) -> str:
    """Write the name of an owner for people: machine and process."""
    if not names_one_process(owner):
        return owner
    host, _, process, *_ = owner.split("/")
    return f"{host}, process {process}"


def _health(owner: str) -> str:
    return "runs" if is_alive(owner) else "died" if is_dead(owner) else "not of this machine"
