"""Asked to stop, a worker gives back what it holds; another one may have it at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from pymongo.errors import AutoReconnect

from agents import stop
from agents.stage import Outcome, Stage, work
from agents.stop import StopRequested
from db import campaigns, candidates
from db.connection import Session
from db.documents import Candidate
from db.retry import idempotent
from db.states import State


class Slow(Stage):
    """Has the first candidate done at once and then hangs."""

    name = "slow"
    agent = "test"
    takes = State.PROPOSED
    batch = 3
    lease_seconds = 600

    def process(self, leased: Sequence[Candidate]) -> Iterator[Outcome]:
        yield Outcome(leased[0].id, State.EVALUATED, {"evaluation": {"energy": -1.0}})
        time.sleep(60)


@pytest.fixture
def stop_signal() -> Iterator[Callable[[float], None]]:
    """Send this process the signal to stop, after so many seconds."""
    before = signal.signal(signal.SIGUSR2, stop.request)

    def later(seconds: float) -> None:
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGUSR2)).start()

    yield later
    signal.signal(signal.SIGUSR2, before)
    stop.forget()


def test_leases_are_given_back_unused_and_results_stay(
    database: Session, stop_signal: Callable[[float], None]
) -> None:
    campaigns.create("c", config={}, seed=1)
    proposals = [
        {"generator_version": "g", "codes_hash": name, "codes": {"n": 1}} for name in "abc"
    ]
    ids = candidates.insert_proposals("c", proposals)
    stop_signal(0.3)
    started = time.monotonic()
    with pytest.raises(StopRequested), stop.stoppable():
        work(Slow(), "c", "first")
    assert time.monotonic() - started < 5
    found = [candidates.load(name) for name in ids]
    assert [one.state for one in found] == ["evaluated", "proposed", "proposed"]
    assert [one.lease for one in found] == [None, None, None]
    assert [one.attempts for one in found] == [0, 0, 0]  # it was nobody's fault
    stop.forget()
    again = candidates.lease("c", State.PROPOSED, "second", 5, 60)
    assert [one.id for one in again] == ids[1:]


def test_outside_of_a_task_it_is_remembered(stop_signal: Callable[[float], None]) -> None:
    stop_signal(0.0)
    time.sleep(0.1)
    assert stop.requested()
    with pytest.raises(StopRequested), stop.stoppable():
        raise AssertionError("it began")


def test_a_shield_is_not_torn(stop_signal: Callable[[float], None]) -> None:
    done = []

    def guarded() -> None:
        with stop.shielded():
            stop_signal(0.0)
            time.sleep(0.1)
            done.append("whole")
        done.append("went on")

    with pytest.raises(StopRequested), stop.stoppable():
        guarded()
    assert done == ["whole"]


def test_a_database_that_is_away_does_not_keep_it(
    database: Session, stop_signal: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    campaigns.create("c", config={}, seed=1)
    candidates.insert_proposals(
        "c", [{"generator_version": "g", "codes_hash": n, "codes": {"n": 1}} for n in "abc"]
    )
    asked = []

    @idempotent
    def away(*_: object) -> None:
        asked.append(time.monotonic())
        raise AutoReconnect("connection closed")

    monkeypatch.setattr(candidates, "release", away)
    monkeypatch.setattr("agents.stage.LAST_WORDS_SECONDS", 0.5)
    stop_signal(0.3)
    with pytest.raises(StopRequested), stop.stoppable():
        work(Slow(), "c", "first")
    assert len(asked) > 2
    assert asked[-1] - asked[0] < 5
