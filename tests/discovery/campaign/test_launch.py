"""Starting, continuing and interrupting a campaign, with real processes but without DFT."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
import yaml
from workplace import Workplace

from db import campaigns, candidates, events
from db.connection import Session
from db.states import State
from discovery.campaign.config import CampaignConfig, ConfigError
from discovery.campaign.launch import RunOptions, _create_or_continue, _extended, _note_changes

pytestmark = pytest.mark.campaign

FILE = """
name: short
generator: perov5
targets: [{property: formation_energy_per_atom, max: -0.5}]
budget: {rounds: 50}
propose: {proposers: [{kind: random, batch: 4, generations: 100}]}
relax: {max_per_generation: 1, max_steps: 2}
screen: {models: [head]}
verify: {backend: none}
learn: {min_new_labels: 100000}
"""


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    (tmp_path / "short.yaml").write_text(FILE)
    return Workplace(tmp_path)


@pytest.mark.long
def test_a_limit_of_the_command_line_can_be_lifted_again(place: Workplace) -> None:
    arguments = ("run", "--campaign", "short.yaml", "--workers", "1", "--json")
    first = place.json(*arguments, "--max-candidates", "4")
    assert (first["state"], first["stop_reason"]) == ("complete", "max_candidates")
    assert first["candidates"] == 4
    second = place.json(*arguments, "--max-candidates", "8")
    assert (second["state"], second["candidates"]) == ("complete", 8)
    again = place.json(*arguments, "--max-candidates", "8")
    assert again["updated_at"] == second["updated_at"]


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_an_interrupted_campaign_says_so_and_continues(place: Workplace, number: int) -> None:
    process = place.start("run", "--campaign", "short.yaml", "--workers", "1")
    log = place.folder / ".discovery" / "logs" / "loop.log"
    deadline = time.monotonic() + 60
    while not (log.exists() and "round 1" in log.read_text()):
        assert time.monotonic() < deadline, (place.folder / "run.log").read_text()
        assert process.poll() is None, (place.folder / "run.log").read_text()
        time.sleep(0.2)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 130
    message = (place.folder / "run.log").read_text()
    assert "interrupted: the same command continues the campaign" in message
    assert "Traceback" not in message
    status = place.json("status", "short", "--json")
    assert (status["state"], status["stop_reason"]) == ("stopped", "interrupted")
    again = place.json(
        "run", "--campaign", "short.yaml", "--workers", "1", "--max-candidates", "4", "--json"
    )
    assert again["state"] == "complete"


def test_time_is_a_limit_too(place: Workplace) -> None:
    status = place.json("run", "--campaign", "short.yaml", "--max-minutes", "0.05", "--json")
    assert (status["state"], status["stop_reason"]) == ("stopped", "max_minutes")
    assert sum(status["counts"].values()) == status["candidates"]


def test_an_unknown_campaign_or_field_is_wrong_use(place: Workplace) -> None:
    place.json("run", "--campaign", "short.yaml", "--max-minutes", "0.02", "--json")
    for arguments, sentence in (
        (("query", "nosuch"), "no campaign 'nosuch'"),
        (("query", "short", "--status", "verifed"), "verifed"),
        (("show", "short-0123"), "no candidate 'short-0123'"),
    ):
        process = place.start(*arguments, log="wrong.log")
        process.communicate(timeout=60)
        message = (place.folder / "wrong.log").read_text()
        assert process.returncode in (1, 2), message
        assert sentence in message
        assert "Traceback" not in message


def test_a_campaign_older_than_a_key_continues_with_its_default(database: Session) -> None:
    config = CampaignConfig.model_validate(yaml.safe_load(FILE))
    old = config.record()
    del old["verify"]["relax"], old["verify"]["max_attempts"]
    campaigns.create("short", config=old, resolved={}, seed=config.seed)
    assert _create_or_continue(config).name == "short"
    limited = config.verify.model_copy(update={"max_core_hours": 2.0})
    assert _create_or_continue(config.model_copy(update={"verify": limited})).name == "short"
    relaxing = config.verify.model_copy(update={"relax": True})
    with pytest.raises(ConfigError, match=r"other values of verify\.relax"):
        _create_or_continue(config.model_copy(update={"verify": relaxing}))


def test_a_complete_campaign_goes_on_where_a_candidate_was_restored(database: Session) -> None:
    config = CampaignConfig.model_validate(yaml.safe_load(FILE))
    campaigns.create("short", config=config.record(), resolved={}, seed=config.seed)
    (name,) = candidates.insert_proposals(
        "short", [{"generator_version": "g", "codes_hash": "h", "codes": {"crystal": [1]}}]
    )
    candidates.transition(
        name, source=State.PROPOSED, to=State.FAILED, token=0, agent="relax", reason="gave up"
    )
    campaigns.set_state("short", "complete", stop_reason="rounds")
    assert not _extended(campaigns.load("short"), config, RunOptions())
    candidates.restore(name, by="ann", why="there is room again")
    assert _extended(campaigns.load("short"), config, RunOptions())


def test_limits_that_a_run_changes_are_recorded_with_their_old_values(database: Session) -> None:
    config = CampaignConfig.model_validate(yaml.safe_load(FILE))
    resolved = {"overrides": {"seed": 1}}
    campaigns.create("short", config=config.record(), resolved=resolved, seed=config.seed)
    token = campaigns.lead("short", "host/loop", 60)
    _note_changes(config, {"seed": 1}, token)
    assert events.events("short", kinds=["config_changed"]) == []
    budget = config.budget.model_copy(update={"rounds": 60})
    overrides = {"seed": 1, "budget.rounds": 60}
    _note_changes(config.model_copy(update={"budget": budget}), overrides, token)
    (event,) = events.events("short", kinds=["config_changed"])
    assert event["data"] == {"changes": [{"key": "budget.rounds", "old": 50, "new": 60}]}
    assert campaigns.load("short").resolved["overrides"] == overrides
