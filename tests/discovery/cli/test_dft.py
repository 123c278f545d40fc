"""``discovery dft`` as a person uses it, on a database with a queue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner, Result

from agents.verify.gpaw.backend import GPAWBackend
from agents.verify.identity import calculation_spec
from agents.verify.queue.launchpad import launchpad
from agents.verify.settings import VerifySettings
from agents.verify.submission import Submission
from db import calculations, campaigns
from db.connection import Session, connect
from discovery.campaign.config import CampaignConfig
from discovery.cli import app


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A database that the commands find by themselves."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MONGODB_URI", raising=False)
        patch.setenv("DISCOVERY_HOME", str(home))
        patch.setenv("USER", "someone")
        with connect() as opened:
            yield opened


@pytest.fixture
def session(server: Session) -> Session:
    """The same, empty."""
    for name in server.database.list_collection_names():
        server.database[name].delete_many({})
    return server


@pytest.fixture
def queued(session: Session) -> str:
    """A queued calculation of silicon; its hash."""
    gpaw = GPAWBackend()
    dft = gpaw.settings("fast")
    queue = Submission(launchpad(session), gpaw, dft, VerifySettings())
    silicon = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.47), ["Si"], [[0, 0, 0]])
    return queue.queue(calculation_spec(gpaw, silicon, dft, kind="compound"))


def discovery(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["dft", *arguments])


def read(*arguments: str) -> Any:
    ended = discovery(*arguments, "--json")
    assert ended.exit_code == 0, ended.output
    return json.loads(ended.stdout)


def test_list_show_defuse_and_rerun(session: Session, queued: str) -> None:
    (row,) = read("list")
    assert (row["formula"], row["task"], row["state"]) == ("Si", "static", "submitted")
    assert (row["queue_state"], row["category"]) == ("READY", "dft-static")
    assert queued.startswith(row["hash"])
    table = discovery("list").stdout
    assert all(word in table for word in ("core-h", "dft-static", "READY"))

    assert "out of the queue" in discovery("defuse", row["hash"], "--why", "too dear").stdout
    shown = read("show", row["hash"])
    assert shown["error"] == "defused: taken out by user someone: too dear"
    assert (shown["state"], shown["queue_state"]) == ("failed", "DEFUSED")
    assert shown["history"][-1]["by"] == "user someone"

    done = read("rerun", row["hash"], "--smearing", "0.1", "--mixing", "0.02", "--timeout", "900")
    assert done["queued"] == [queued]
    firework = session.database["fireworks"].find_one({"spec.calculation": f"{queued}:2"})
    assert firework["state"] == "READY"
    assert firework["spec"]["timeout_seconds"] == 900.0
    (changes,) = firework["spec"]["ladder"]
    assert changes["smearing"] == 0.1
    assert changes["mixer"]["beta"] == 0.02
    text = discovery("show", row["hash"]).stdout
    assert "user someone: failed → submitting: run again with" in text
    assert "core-hours measured" in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["rerun"], "only failed calculations are run again"),
        (["list", "nothing"], "nothing"),
        (["list", "--state", "burning"], "submitting, submitted, completed, failed"),
        (["show", "ffffffffffffffff"], "no calculation begins with"),
    ],
)
def test_wrong_use_is_explained(queued: str, arguments: list[str], sentence: str) -> None:
    if arguments == ["rerun"]:
        arguments = ["rerun", queued]
    ended = discovery(*arguments)
    assert ended.exit_code != 0
    assert sentence in f"{ended.output} {ended.exception}"


def test_collect_concludes_a_campaign_that_does_not_run(session: Session, queued: str) -> None:
    config = {
        "name": "short",
        "generator": "perov5",
        "targets": [{"property": "band_gap", "min": 0.5}],
        "propose": {"proposers": [{"kind": "random", "batch": 4, "generations": 1}]},
    }
    record = CampaignConfig.model_validate(config).record()
    campaigns.create("short", config=record, resolved={}, seed=1)
    pad = launchpad(session)
    fw_id = calculations.load(queued).fw_id
    launch = {"launch_id": 1, "fw_id": fw_id, "state": "COMPLETED", "state_history": []}
    stored = {"result": {"energy_per_atom": -5.0}, "attempts": [{"core_seconds": 36.0}]}
    pad.launches.insert_one({**launch, "action": {"stored_data": stored}})
    pad.fireworks.update_one({"fw_id": fw_id}, {"$set": {"state": "COMPLETED"}})
    assert read("collect", "short") == {"calculations": 1, "verified": [], "failed": []}
    (row,) = read("list", "--state", "completed")
    assert row["core_hours"] == pytest.approx(0.01)
