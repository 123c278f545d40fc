"""Leases among real processes, by the server's clock."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from db import candidates
from db.candidates import StaleLease
from db.connection import Session
from db.owners import is_alive, is_dead, owner_name
from db.states import FUNNEL, State

WORKER = """
import sys
from db import candidates
from db.connection import connect_worker
from db.states import State
session = connect_worker(sys.argv[1], sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
while batch := candidates.lease("c", State.PROPOSED, sys.argv[3], 4, 60):
    for found in batch:
        print(found.id, found.token, found.seq, flush=True)
"""
HOLDER = """
import sys
from db import candidates
from db.connection import connect_worker
from db.owners import owner_name
from db.states import State
session = connect_worker(sys.argv[1], sys.argv[2])
print(len(candidates.lease("c", State.PROPOSED, owner_name(), 2, 600)), flush=True)
sys.stdin.readline()
"""


def start(script: str, database: Session, *arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, database.uri, database.database_name, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.first = process.stdout.readline().strip()  # type: ignore[attr-defined]
    return process


def evaluate(name: str, token: int) -> None:
    candidates.transition(
        name, source=State.PROPOSED, to=State.EVALUATED, token=token, agent="test"
    )


def test_two_processes_never_lease_the_same_candidate(
    propose: Callable[..., list[str]], database: Session
) -> None:
    ids = propose(200)
    workers = [start(WORKER, database, name) for name in ("one", "two")]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    outputs = [worker.communicate()[0] for worker in workers]
    taken = [line.split() for output in outputs for line in output.splitlines()]
    assert Counter(name for name, _, _ in taken) == Counter(ids)
    assert {token for _, token, _ in taken} == {"1"}
    assert all(outputs), "one worker took everything: nothing was concurrent"
    for output in outputs:
        order = [int(line.split()[2]) for line in output.splitlines()]
        assert order == sorted(order)


def test_oldest_come_first_and_the_token_grows(propose: Callable[..., list[str]]) -> None:
    ids = propose(5)
    leased = candidates.lease("c", State.PROPOSED, "w", 3, 60)
    assert [found.id for found in leased] == ids[:3]
    assert [found.token for found in leased] == [1, 1, 1]
    assert [found.id for found in candidates.lease("c", State.PROPOSED, "v", 9, 60)] == ids[3:]
    assert candidates.lease("c", State.PROPOSED, "v", 9, 60) == []
    assert candidates.lease("other", State.PROPOSED, "v", 9, 60) == []


def test_a_stale_token_is_refused_after_somebody_else_took_over(
    propose: Callable[..., list[str]],
) -> None:
    (name,) = propose(1)
    old = candidates.lease("c", State.PROPOSED, "slow", 1, 0.05)[0]
    time.sleep(0.1)
    new = candidates.lease("c", State.PROPOSED, "fast", 1, 60)[0]
    assert (old.id, new.token) == (name, old.token + 1)
    assert candidates.renew({name: old.token}, "slow", 60) == set()
    assert candidates.release(name, old.token) is False
    with pytest.raises(StaleLease):
        evaluate(name, old.token)
    assert candidates.renew({name: new.token}, "fast", 60) == {name}
    evaluate(name, new.token)
    assert candidates.load(name).state == "evaluated"


def test_renewal_keeps_a_lease_beyond_its_first_term(propose: Callable[..., list[str]]) -> None:
    held, lost = propose(2)
    leased = candidates.lease("c", State.PROPOSED, "w", 2, 0.3)
    tokens = {found.id: found.token for found in leased}
    assert candidates.renew(tokens, "somebody else", 60) == set()
    assert candidates.renew({held: tokens[held]}, "w", 60) == {held}
    time.sleep(0.4)
    taken = candidates.lease("c", State.PROPOSED, "v", 2, 60)
    assert [found.id for found in taken] == [lost]


def test_the_workers_clock_has_no_say(
    propose: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    propose(1)
    candidates.lease("c", State.PROPOSED, "w", 1, 60)
    real = time.time
    for shift in (-1e6, 1e6):
        monkeypatch.setattr(time, "time", lambda shift=shift: real() + shift)
        assert candidates.reap("c") == 0
        assert candidates.lease("c", State.PROPOSED, "v", 1, 60) == []
    monkeypatch.undo()
    propose(1)
    monkeypatch.setattr(time, "time", lambda: real() + 1e6)
    leased = candidates.lease("c", State.PROPOSED, "fast clock", 1, 60)[0]
    assert abs(leased.lease["expires_at"].timestamp() - real() - 60) < 10


def test_reaper_returns_expired_leases_and_gives_up_after_the_last_attempt(
    propose: Callable[..., list[str]], database: Session
) -> None:
    (name,) = propose(1)
    for attempt in (1, 2, 3):
        found = candidates.lease("c", State.PROPOSED, "w", 1, 0.02)[0]
        assert found.attempts == attempt
        assert candidates.load(name).lease is not None
        time.sleep(0.05)
        assert candidates.reap("c") == 1
        assert candidates.reap("c") == 0
    given_up = candidates.load(name)
    assert given_up.state == "failed"
    assert given_up.error == "gave up after 3 attempts"
    assert given_up.lease is None
    last = given_up.history[-1]
    assert (last["from"], last["to"], last["agent"]) == ("proposed", "failed", "reaper")
    with pytest.raises(StaleLease):
        evaluate(name, given_up.token)


def test_attempts_count_per_state_and_a_returned_lease_counts_nothing(
    propose: Callable[..., list[str]],
) -> None:
    (name,) = propose(1)
    for _ in range(5):
        leased = candidates.lease("c", State.PROPOSED, "w", 1, 60)[0]
        assert leased.attempts == 1
        assert candidates.release(name, leased.token) is True
    leased = candidates.lease("c", State.PROPOSED, "w", 1, 60)[0]
    evaluate(name, leased.token)
    assert candidates.lease("c", State.EVALUATED, "w", 1, 60)[0].attempts == 1


def test_a_candidate_that_came_back_is_leased_alone(propose: Callable[..., list[str]]) -> None:
    ids = propose(5)
    candidates.lease("c", State.PROPOSED, "crashed", 2, 0.02)
    time.sleep(0.05)
    batches = []
    while batch := candidates.lease("c", State.PROPOSED, "w", 10, 60):
        batches.append([found.id for found in batch])
    assert batches == [[ids[0]], [ids[1]], ids[2:]]


def test_leases_of_a_killed_process_come_back_at_once(
    propose: Callable[..., list[str]], database: Session
) -> None:
    propose(3)
    holder = start(HOLDER, database)
    assert holder.first == "2"
    assert candidates.reap("c") == 0
    holder.kill()
    holder.wait()
    assert candidates.reap("c") == 2
    assert candidates.reap("c") == 0


def test_final_states_cannot_be_leased(database: Session) -> None:
    for state in ("rejected", "failed"):
        with pytest.raises(ValueError, match="final"):
            candidates.lease("c", State(state), "w", 1, 60)


def test_a_verified_candidate_that_is_given_up_stays_verified(
    propose: Callable[..., list[str]],
) -> None:
    plain, asked = propose(2)
    for name in (plain, asked):
        for source, to in pairwise(FUNNEL):
            candidates.transition(name, source=source, to=to, token=0, agent="test")
    followed = {"has": "follow_up.structure", "lacks": "follow_up.stability"}
    assert candidates.lease("c", State.VERIFIED, "w", 2, 60, **followed) == []
    note(asked, 0, {"follow_up": {"structure": {}}})
    for _ in (1, 2):
        assert [one.id for one in candidates.lease("c", State.VERIFIED, "w", 2, 0.02, **followed)]
        time.sleep(0.05)
        assert candidates.reap("c") == 1
    (found,) = candidates.lease("c", State.VERIFIED, "w", 2, 60, **followed)
    assert candidates.abandon({asked: found.token}, "out of memory") == 1
    given_up = candidates.load(asked)
    assert (given_up.state, given_up.error, given_up.lease) == ("verified", None, None)
    last = given_up.history[-1]
    assert (last["from"], last["to"], last["agent"]) == ("verified", "verified", "worker")
    assert last["reason"] == "gave up after 3 attempts: out of memory"
    assert candidates.lease("c", State.VERIFIED, "w", 2, 60, **followed) == []
    note(asked, given_up.token, {"follow_up.failed": "out of memory"})
    assert candidates.load(asked).attempts == 0
    assert len(candidates.lease("c", State.VERIFIED, "w", 2, 60, **followed)) == 1


def note(name: str, token: int, updates: dict[str, Any]) -> None:
    candidates.transition(
        name,
        source=State.VERIFIED,
        to=State.VERIFIED,
        token=token,
        agent="follow_up",
        updates=updates,
    )


def test_owners_are_dead_or_alive_only_when_their_process_is_known_to_be() -> None:
    mine = owner_name()
    assert mine != owner_name()
    assert is_alive(mine)
    assert not is_dead(mine)
    assert not is_dead("worker-1")
    assert not is_alive("worker-1")
    host, machine, process, started, word = mine.split("/")
    assert int(process) == os.getpid()
    recycled = "/".join([host, machine, process, str(int(started) - 1), word])
    assert is_dead(recycled)
    assert not is_alive(recycled)
    unread = "/".join([host, machine, process, "", word])
    assert not is_alive(unread)
    for elsewhere in (["elsewhere", process, "1"], ["elsewhere", process, started]):
        assert not is_dead("/".join([host, *elsewhere, word]))
        assert not is_alive("/".join([host, *elsewhere, word]))
    child = subprocess.Popen(
        [sys.executable, "-c", "from db.owners import owner_name; print(owner_name())"],
        stdout=subprocess.PIPE,
        text=True,
    )
    gone = child.communicate()[0].strip()
    assert is_dead(gone)
    assert not is_alive(gone)
