"""Reapers of several processes that race for the same expired leases."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from outcome import Row

from db import campaigns, candidates
from db.connection import Session
from db.states import State

pytestmark = pytest.mark.chaos

ROOT = Path(__file__).parents[2]
REAPERS, LEASES = 4, 60
REAPER = """
import sys, time
from db import candidates
from db.connection import connect_worker
with connect_worker(sys.argv[1], sys.argv[2]):
    print("ready", flush=True)
    sys.stdin.readline()
    print(sum(candidates.reap("c") for _ in range(20)), flush=True)
"""


def test_racing_reapers_take_every_lease_back_once(
    database: Session, row: Callable[[str], Row]
) -> None:
    told = row(f"{REAPERS} reapers race for {LEASES} expired leases")
    campaigns.create("c", config={}, seed=0)
    codes = {"generator_version": "g", "codes": {"n": 1}}
    names = candidates.insert_proposals(
        "c", [{**codes, "codes_hash": str(number)} for number in range(LEASES)]
    )
    leased = candidates.lease("c", State.PROPOSED, "elsewhere", LEASES, 0.001)
    assert [one.id for one in leased] == names
    worn_out = names[: LEASES // 2]  # these were leased twice before
    database.database["candidates"].update_many(
        {"_id": {"$in": worn_out}}, {"$set": {"attempts": 3}}
    )
    reapers = [
        subprocess.Popen(
            [sys.executable, "-c", REAPER, database.uri, database.database_name],
            cwd=ROOT,
            env=os.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(REAPERS)
    ]
    for one in reapers:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in reapers:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    taken = [int(one.communicate()[0]) for one in reapers]
    told.injected(0.0)
    assert sum(taken) == LEASES
    found = [candidates.load(name) for name in names]
    assert Counter(one.state for one in found) == {"failed": LEASES // 2, "proposed": LEASES // 2}
    assert all(one.lease is None for one in found)
    assert [len(one.history) for one in found] == [2] * (LEASES // 2) + [1] * (LEASES // 2)
    told.doubled += sum(len(one.history) > 2 for one in found)
