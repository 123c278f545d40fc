"""Precise moments in the life of a campaign, found from outside.

`caught` stops the process that a moment belongs to (SIGSTOP) and looks again: only if the moment is
still there, nothing came in between, and whatever is done to the process is done at that moment.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster import Cluster, alive, children

Moment = Callable[[], tuple[int, Any] | None]
"""Returns the process and what it is in the middle of; None while there is no such moment."""
SETTLED = 0.05
"""After so long (s), what a stopped process had sent to the database has been done."""


def caught(moment: Moment, seconds: float = 60.0) -> tuple[int, Any]:
    """Wait for a moment and return its process, stopped, and what it is in the middle of.

    Raises:
        AssertionError: The moment did not come.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = moment()
        if found is not None and alive(found[0]):
            pid, _ = found
            os.kill(pid, signal.SIGSTOP)
            time.sleep(SETTLED)
            if alive(pid) and moment() == found:
                return found
            os.kill(pid, signal.SIGCONT)
        time.sleep(0.003)
    raise AssertionError(f"the moment did not come within {seconds:g} s")


def process_of(owner: str) -> int:
    """Return the process id in the name of an owner (`db.owners`)."""
    return int(owner.split("/")[2])


def leased(cluster: Cluster, state: str) -> Moment:
    """A pool process holds a candidate in this state: it is in the middle of that stage."""

    def look() -> tuple[int, Any] | None:
        held = cluster.candidates(state=state, **{"lease.owner": {"$type": "string"}})
        for one in held:
            pid = process_of(one["lease"]["owner"])
            if alive(pid):
                return pid, (one["_id"], one["token"])
        return None

    return look


def proposed_but_not_dispatched(cluster: Cluster, loop: int) -> Moment:
    """A generation is evaluated, and none of it is sent to relaxation."""

    def look() -> tuple[int, Any] | None:
        for generation in cluster.generations():
            names = generation["candidate_ids"]
            states = {one["state"] for one in cluster.candidates(_id={"$in": names})}
            if "prescreened" in states and not states & {"relaxing", "relaxed", "screened"}:
                return loop, (generation["episode"], generation["generation"], tuple(names))
        return None

    return look


def computing(cluster: Cluster, launcher: int) -> Moment:
    """The DFT code runs under a launcher."""

    def look() -> tuple[int, Any] | None:
        below = children(launcher)
        running = cluster.database["launches"].find_one({"state": "RUNNING"})
        return (launcher, running["fw_id"]) if below and running else None

    return look


def training(cluster: Cluster) -> Moment:
    """A pool process has claimed a learning event and stored nothing yet."""

    def look() -> tuple[int, Any] | None:
        claim = cluster.record().get("learner")
        if not claim:
            return None
        versions = cluster.database["model_versions"].count_documents({})
        return process_of(claim["owner"]), (claim["owner"], versions)

    return look


def answered(folder: Path) -> list[Path]:
    """Return the answers that DFT processes left in the launch directories under a folder."""
    return sorted(folder.glob("fireworks/launch-*/attempt-*/output.json"))
