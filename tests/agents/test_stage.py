"""The life of a stage: leases are renewed, outcomes committed one by one, late results refused."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import pytest

from agents.stage import MissingOutcome, Outcome, PutOff, Stage, work
from db import campaigns, candidates
from db.connection import Session
from db.documents import Candidate, Event
from db.plain import NotPlain
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


class EvenOnly(Evaluate):
    """Puts candidates of odd numbers off."""

    def process(self, leased: Sequence[Candidate]) -> Iterator[Outcome | PutOff]:
        for outcome, candidate in zip(super().process(leased), leased):
            yield PutOff(candidate.id) if candidate.codes["n"] % 2 else outcome


def test_what_is_put_off_is_given_back_at_the_end_and_was_leased_once(database: Session) -> None:
    ids = propose(10)
    stage = EvenOnly()
    assert work(stage, CAMPAIGN, "me") == 5
    assert sum(stage.batches) == 10
    left = [candidates.load(name) for name in ids[1::2]]
    assert {(one.state, one.lease, one.attempts, one.token) for one in left} == {
        ("proposed", None, 0, 1)
    }
    assert work(Evaluate(), CAMPAIGN, "me") == 5  # in whole batches: nothing was their fault


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


@pytest.mark.parametrize("fault", ["process", "commit"])
def test_a_crystal_that_raises_fails_alone_without_waiting(database: Session, fault: str) -> None:
    ids = propose(6)
    poison = ids[1]

    class Poisoned(Evaluate):
        lease_seconds = 300

        def process(self, leased: Sequence[Candidate]) -> Iterator[Outcome]:
            self.batches.append(len(leased))
            for candidate in leased:
                energy = -1.0
                if candidate.id == poison:
                    if fault == "process":
                        raise KeyError("Xx")
                    energy = float("nan")
                yield Outcome(candidate.id, State.EVALUATED, {"evaluation": {"energy": energy}})

    stage = Poisoned()
    for _ in range(3):
        with pytest.raises(KeyError if fault == "process" else NotPlain):
            work(stage, CAMPAIGN, "me")
    assert work(stage, CAMPAIGN, "me") == 4
    assert stage.batches == [4, 1, 1, 1, 1, 2]
    counts = candidates.counts(CAMPAIGN)
    assert (counts["evaluated"], counts["failed"], counts["proposed"]) == (5, 1, 0)
    failed = candidates.load(poison)
    words = "KeyError: 'Xx'" if fault == "process" else "NotPlain: evaluation.energy is nan"
    assert f"gave up after 3 attempts: {words}" in failed.error
    assert failed.lease is None
    last = failed.history[-1]
    assert (last["from"], last["to"], last["agent"]) == ("proposed", "failed", "test")
    assert not Event.objects(kind="stale_write_refused")


def test_a_stage_that_says_nothing_of_a_candidate_is_an_error(database: Session) -> None:
    class Silent(Evaluate):
        def process(self, leased: Sequence[Candidate]) -> Iterator[Outcome]:
            yield from list(super().process(leased))[1:]

    ids = propose(3)
    with pytest.raises(MissingOutcome, match=ids[0]):
        work(Silent(), CAMPAIGN, "me")
    assert candidates.load(ids[0]).lease is None
    assert candidates.counts(CAMPAIGN)["evaluated"] == 2


def test_only_leases_still_held_are_given_up(database: Session) -> None:
    propose(2)
    held, lost = candidates.lease(CAMPAIGN, State.PROPOSED, "me", 2, 60)
    candidates.release(lost.id, lost.token)
    (taken,) = candidates.lease(CAMPAIGN, State.PROPOSED, "thief", 1, 60)
    assert taken.id == lost.id
    assert candidates.abandon({held.id: held.token, lost.id: lost.token}, "boom") == 1
    assert candidates.load(lost.id).lease["owner"] == "thief"
    assert candidates.load(held.id).attempts == 1
