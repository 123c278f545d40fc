"""The life of a stage: leases are renewed, outcomes committed one by one, late results refused."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import pytest

from agents.stage import Outcome, Stage, work
from db import campaigns, candidates
from db.connection import Session
from db.documents import Candidate, Event
from db.states import State

CAMPAIGN = "stages"


def propose(count: int) -> list[str]:
    campaigns.create(CAMPAIGN, config={}, seed=1)
    return candidates.insert_proposals(
        CAMPAIGN,
        [
            {"generator_version": "g", "codes_hash": f"{number:064d}", "codes": {"n": number}}
            for number in range(count)
        ],
    )


class Evaluate(Stage):
    """Moves every candidate on, after a pause."""

    name = "evaluate"
    agent = "test"
    takes = State.PROPOSED
    batch = 4
    lease_seconds = 3

    def __init__(self, pause: float = 0.0, steal: bool = False) -> None:
        self.pause = pause
        self.steal = steal
        self.batches: list[int] = []

    def process(self, leased: Sequence[Candidate]) -> Iterator[Outcome]:
        self.batches.append(len(leased))
        for candidate in leased:
            time.sleep(self.pause)
            if self.steal:
                candidates.release(candidate.id, candidate.token)
                (taken,) = candidates.lease(CAMPAIGN, State.PROPOSED, "thief", 1, 60)
                assert taken.id == candidate.id
            yield Outcome(candidate.id, State.EVALUATED, {"evaluation": {"energy": -1.0}})


def test_everything_is_worked_through_in_batches(database: Session) -> None:
    ids = propose(10)
    stage = Evaluate()
    assert work(stage, CAMPAIGN, "me") == 10
    assert stage.batches == [4, 4, 2]
    assert candidates.counts(CAMPAIGN)["evaluated"] == len(ids)
    assert all(candidate.lease is None for candidate in Candidate.objects(campaign=CAMPAIGN))


def test_a_slow_stage_keeps_its_leases(database: Session) -> None:
    propose(3)
    stage = Evaluate(pause=1.6)  # the last one is committed 1.8 s after its first lease would end
    assert work(stage, CAMPAIGN, "me") == 3
    assert stage.batches == [3]
    assert not Event.objects(kind="stale_write_refused")


def test_a_late_result_is_refused_and_recorded(database: Session) -> None:
    (candidate_id,) = propose(1)
    assert work(Evaluate(steal=True), CAMPAIGN, "me") == 0
    assert candidates.load(candidate_id).state == "proposed"
    assert candidates.load(candidate_id).lease["owner"] == "thief"
    assert Event.objects(kind="stale_write_refused").count() == 1


def test_no_batch_is_leased_after_the_deadline(database: Session) -> None:
    propose(9)
    stage = Evaluate(pause=0.3)
    assert work(stage, CAMPAIGN, "me", deadline=time.monotonic() + 0.5) == 4
    assert work(stage, CAMPAIGN, "me", deadline=time.monotonic() - 1) == 0
    assert candidates.counts(CAMPAIGN)["proposed"] == 5


def test_committed_outcomes_survive_a_crash_of_the_batch(database: Session) -> None:
    class Crashing(Evaluate):
        def process(self, leased: Sequence[Candidate]) -> Iterator[Outcome]:
            yield Outcome(leased[0].id, State.EVALUATED, {"evaluation": {"energy": -1.0}})
            raise MemoryError("the process dies here")

    propose(3)
    with pytest.raises(MemoryError):
        work(Crashing(), CAMPAIGN, "me")
    counts = candidates.counts(CAMPAIGN)
    assert (counts["evaluated"], counts["proposed"]) == (1, 2)
