"""What the loop decides in one tick, and what it leaves of itself, on the real database."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from agents.verify.agent import Progress
from db import campaigns
from db.connection import Session
from discovery.campaign.config import CampaignConfig
from discovery.campaign.loop import CampaignLoop

NAME = "looped"
CONFIG = {
    "name": NAME,
    "generator": "perov5",
    "targets": [{"property": "band_gap", "min": 1.0}],
    "budget": {"rounds": 5, "max_hits": 1},
    "propose": {"proposers": [{"kind": "random", "batch": 4, "generations": 1}]},
    "verify": {"backend": "none"},
}


class Verification:
    """Says how many hits there are, and remembers what it was told to do."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.found = Progress(
            submitted=1,
            completed=1,
            failed=0,
            hits=1,
            in_flight=0,
            pool=3,
            done=True,
            waiting_for="",
        )

    def progress(self, **_: Any) -> Progress:
        return self.found

    def step(self, **told: Any) -> Progress:
        self.told.append(told)
        return self.found


def looped(session: Session, config: dict[str, Any]) -> CampaignLoop:
    """A loop that can do all but propose."""
    checked = CampaignConfig.model_validate(config)
    campaigns.create(NAME, config=checked.record(), seed=checked.seed)
    runtime: Any = SimpleNamespace(
        config=checked,
        campaign=NAME,
        owner="host/loop",
        resolved={"dft": {"name": "none"}},
        follow_up=checked.follow_up,
    )
    return CampaignLoop(runtime, session)


def test_enough_hits_end_the_choice_for_dft(
    database: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = looped(database, CONFIG)
    verification = Verification()
    monkeypatch.setattr(loop, "verification", verification)
    monkeypatch.setattr(loop, "_propose", lambda tick, enough: 1)
    with loop.leadership():
        assert loop.tick().finished == "max_hits"
        verification.found = replace(verification.found, hits=0)
        loop.tick()
    assert [one["stop"] for one in verification.told] == [True, False]


def test_a_loop_that_lost_its_lead_chooses_nothing(
    database: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = looped(database, CONFIG)
    verification = Verification()
    monkeypatch.setattr(loop, "verification", verification)
    monkeypatch.setattr(loop, "_propose", lambda tick, enough: 1)

    def lose_the_lead() -> None:
        loop.tick()
        confirm = verification.told[-1]["confirm"]
        confirm()
        expired = {"$set": {"leader.expires_at": datetime(2000, 1, 1)}}
        database.database["campaigns"].update_one({"_id": NAME}, expired)
        campaigns.lead(NAME, "host/other", 60)
        confirm()

    with pytest.raises(campaigns.LostLead), loop.leadership():
        lose_the_lead()
    found = campaigns.load(NAME)
    assert (found.state, found.leader["owner"]) == ("running", "host/other")


def test_a_loop_that_an_error_ends_says_so(database: Session) -> None:
    loop = looped(database, CONFIG)
    with pytest.raises(KeyError), loop.leadership():
        raise KeyError("seed")
    found = campaigns.load(NAME)
    assert (found.state, found.stop_reason, found.leader) == ("stopped", "error: KeyError", None)


@pytest.mark.parametrize("out_of_time", [True, False])
def test_a_run_that_can_do_no_more_waits_for_no_other_head(
    database: Session, monkeypatch: pytest.MonkeyPatch, out_of_time: bool
) -> None:
    loop = looped(database, CONFIG)
    verification = Verification()
    verification.found = replace(verification.found, out_of_time=out_of_time)
    monkeypatch.setattr(loop, "verification", verification)
    monkeypatch.setattr(loop, "_propose", lambda tick, enough: 1)
    monkeypatch.setattr(loop, "_hint", lambda *_: None)
    monkeypatch.setattr("agents.learn.event.due", lambda *_, last, **__: last)
    with loop.leadership():
        tick = loop.tick()
    assert tick.out_of_time is out_of_time
    assert tick.finished is None
    assert ("learning" in tick.waiting_for) is not out_of_time
