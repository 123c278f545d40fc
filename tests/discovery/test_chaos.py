"""SIGKILL in the middle of a campaign: the end is that of an uninterrupted one."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from workplace import Workplace, make_workplace

from db.connection import connect
from db.states import ALLOWED, State

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


def descendants(pid: int) -> dict[int, str]:
    """Find the living processes below one, with their command lines."""
    parents: dict[int, int] = {}
    commands: dict[int, str] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[0] != "Z":
            parents[int(folder.name)] = int(fields[1])
            commands[int(folder.name)] = command
    below: dict[int, str] = {}
    frontier = {pid}
    while frontier:
        frontier = {child for child, parent in parents.items() if parent in frontier}
        below.update({child: commands[child] for child in frontier})
    return below


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


def reached(place: Workplace, state: str) -> int:
    return int(place.json("status", "tiny", "--json")["reached"].get(state, 0))


def test_killed_loop_and_worker_change_nothing(finished: Workplace, tmp_path: Path) -> None:
    place = make_workplace(tmp_path)
    arguments = ("run", "--campaign", str(place.campaign), "--json")

    first = place.start(*arguments)
    wait_until(lambda: (tmp_path / ".discovery").exists(), 60)
    time.sleep(5)
    wait_until(lambda: reached(place, "relaxing") > 0, 180)
    workers = [
        pid
        for pid, command in descendants(first.pid).items()
        if "celery" in command and "worker" in command
    ]
    assert workers
    os.kill(max(workers), signal.SIGKILL)
    wait_until(lambda: reached(place, "relaxed") > 0, 240)
    first.kill()
    first.wait()

    second = place.start(*arguments)
    wait_until(lambda: reached(place, "verifying") > 0, 400)
    second.kill()
    second.wait()
    left = {pid for pid, command in descendants(1).items() if str(tmp_path) in command}

    place.run(*arguments, timeout=800)
    status = place.json("status", "tiny", "--json")
    records = place.json("query", "tiny", "--format", "json")
    expected = finished.json("query", "tiny", "--format", "json")

    assert status["state"] == "complete"
    assert len({record["codes_hash"] for record in records}) == len(records)
    assert {record["id"] for record in records} == {record["id"] for record in expected}
    for record in records:
        steps = [(entry["from"], entry["to"]) for entry in record["history"]]
        assert all(State(to) in ALLOWED[State(left)] for left, to in steps[1:])
        assert len({to for _, to in steps}) == len(steps)
    assert rejected(records) == rejected(expected)
    assert status["dft"]["completed"] == 1
    paid_once(place)
    assert not {pid for pid in left if Path(f"/proc/{pid}").exists() and orphan(pid)}


def rejected(records: list[dict[str, Any]]) -> dict[str, str]:
    """Map the rejected candidates to their reasons; which of two equal ones stays may differ."""
    return {
        record["id"]: record["rejection"]["reason"]
        for record in records
        if record["state"] == "rejected" and record["rejection"]["reason"] != "duplicate_campaign"
    }


def orphan(pid: int) -> bool:
    """Say whether a DFT process lives on without its launcher."""
    try:
        return b"gpaw_runner" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


def paid_once(place: Workplace) -> None:
    """Count the launches of every calculation in FireWorks' own records."""
    with connect(home=place.folder / ".discovery", create=False) as session:
        launches = session.database["launches"].find({"state": "COMPLETED"}, {"fw_id": 1})
        completed = Counter(launch["fw_id"] for launch in launches)
        fireworks = list(session.database["fireworks"].find({}, {"spec.calculation": 1}))
        hashes = [one["spec"]["calculation"] for one in fireworks]
    assert completed
    assert max(completed.values()) == 1
    assert len(hashes) == len(set(hashes))
