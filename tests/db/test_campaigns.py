"""Campaigns: one leader, guarded changes, the live model."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from db import campaigns
from db.campaigns import AlreadyLed, LostLead, UnknownCampaign
from db.connection import Session

LEADER = """
import sys
from db import campaigns
from db.connection import connect_worker
from db.owners import owner_name
session = connect_worker(sys.argv[1], sys.argv[2])
claim = getattr(campaigns, sys.argv[3])
print(int(claim("c", owner_name(), 600)), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def campaign(database: Session) -> str:
    return str(campaigns.create("c", config={"a": 1}, seed=7, resolved={"b": 2}).name)


def test_creating_again_returns_what_is_recorded(campaign: str) -> None:
    again = campaigns.create("c", config={"a": 2}, seed=8)
    assert (again.config, again.resolved, again.seed) == ({"a": 1}, {"b": 2}, 7)
    assert again.state == "running"
    assert campaigns.names() == ["c"]
    (listed,) = campaigns.listed()
    assert (listed["campaign"], listed["state"], listed["candidates"]) == ("c", "running", 0)


def test_an_unknown_campaign_names_those_there_are(campaign: str) -> None:
    with pytest.raises(UnknownCampaign, match="no campaign 'd' in the database; there is: c"):
        campaigns.load("d")
    with pytest.raises(UnknownCampaign):
        campaigns.lead("d", "me", 1)
    with pytest.raises(ValueError, match="cannot name a campaign"):
        campaigns.create("a/b", config={}, seed=0)


def test_the_second_loop_is_told_who_leads(campaign: str) -> None:
    token = campaigns.lead("c", "first", 60)
    with pytest.raises(AlreadyLed, match="led by first") as caught:
        campaigns.lead("c", "second", 60)
    assert caught.value.owner == "first"
    assert 50 < caught.value.seconds_left <= 60
    assert campaigns.resign("c", "first", token) is True
    assert campaigns.resign("c", "first", token) is False
    assert campaigns.lead("c", "second", 60) == token + 1


def test_an_expired_leader_can_change_nothing_after_it_was_followed(campaign: str) -> None:
    old = campaigns.lead("c", "first", 0.05)
    time.sleep(0.1)
    campaigns.set_state("c", "running", token=old)  # nobody followed yet
    new = campaigns.lead("c", "second", 60)
    for attempt in (
        lambda: campaigns.renew_lead("c", "first", old, 60),
        lambda: campaigns.set_state("c", "complete", token=old),
        lambda: campaigns.update("c", token=old, progress={"tick": 1}),
    ):
        with pytest.raises(LostLead, match="this loop must stop"):
            attempt()
    campaigns.renew_lead("c", "second", new, 60)
    campaigns.set_state("c", "stopped", token=new, stop_reason="max_minutes")
    campaigns.update("c", token=new, progress={"tick": 2})
    campaigns.update("c", token=new, config={"a": 3})
    found = campaigns.load("c")
    assert (found.state, found.stop_reason) == ("stopped", "max_minutes")
    assert (found.progress, found.config) == ({"tick": 2}, {"a": 3})
    with pytest.raises(ValueError, match="cannot be set"):
        campaigns.update("c", token=new, leader={})


def test_the_lead_of_a_killed_loop_is_free_at_once(campaign: str, database: Session) -> None:
    loop = subprocess.Popen(
        [sys.executable, "-c", LEADER, database.uri, database.database_name, "lead"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert loop.stdout is not None
    assert loop.stdout.readline().strip() == "1"
    with pytest.raises(AlreadyLed):
        campaigns.lead("c", "me", 60)
    loop.kill()
    loop.wait()
    assert campaigns.lead("c", "me", 60) == 2


def test_the_live_model_is_swapped_only_from_the_expected_one(campaign: str) -> None:
    assert campaigns.swap_live_model("c", None, "v1") is True
    assert campaigns.swap_live_model("c", None, "v2") is False
    assert campaigns.load("c").live_model == "v1"
    assert campaigns.swap_live_model("c", "v1", "v2") is True
    assert campaigns.load("c").live_model == "v2"
    with pytest.raises(UnknownCampaign):
        campaigns.swap_live_model("d", None, "v1")


def test_one_worker_learns_at_a_time(campaign: str) -> None:
    assert campaigns.claim_learning("c", "first", 60)
    assert not campaigns.claim_learning("c", "second", 60)
    assert campaigns.claim_learning("c", "first", 60)  # its own
    assert not campaigns.release_learning("c", "second")
    assert campaigns.lead("c", "loop", 60) == 1  # leading is another matter
    assert campaigns.release_learning("c", "first")
    assert campaigns.claim_learning("c", "second", 0.05)
    time.sleep(0.1)
    assert campaigns.claim_learning("c", "third", 60)  # expired by the server's clock
    assert not campaigns.release_learning("c", "second")
    assert not campaigns.claim_learning("c", "fourth", 60)
    with pytest.raises(UnknownCampaign):
        campaigns.claim_learning("d", "first", 60)


def test_the_claim_of_a_killed_learner_is_free_at_once(campaign: str, database: Session) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", LEADER, database.uri, database.database_name, "claim_learning"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdout is not None
    assert worker.stdout.readline().strip() == "1"
    assert not campaigns.claim_learning("c", "me", 60)
    worker.kill()
    worker.wait()
    assert campaigns.claim_learning("c", "me", 60)
