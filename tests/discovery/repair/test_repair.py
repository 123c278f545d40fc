"""``discovery repair``: planted faults are found, mended one by one when told, and recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agents.verify.queue.launchpad import add_firework, launchpad
from db import calculations, campaigns, candidates, events, model_versions
from db.connection import Session
from db.states import State
from discovery.cli import app
from discovery.repair import Finding, NotFound, apply, examine

NAME = "c"


@pytest.fixture
def pad(database: Session) -> Any:
    campaigns.create(NAME, config={"verify": {}}, seed=0)
    campaigns.set_state(NAME, "stopped", stop_reason="interrupted")
    return launchpad(database)


def proposed(count: int) -> list[str]:
    return candidates.insert_proposals(
        NAME,
        [
            {"generator_version": "g", "codes_hash": f"h{number}", "codes": {"crystal": [1]}}
            for number in range(count)
        ],
    )


def fail(name: str, source: State, error: str) -> None:
    token = candidates.load(name).token
    candidates.transition(
        name, source=source, to=State.FAILED, token=token, agent="relax", reason=error
    )


def ids(found: list[Finding]) -> list[str]:
    return [one.id for one in found]


def repairs() -> list[str]:
    return [one["data"]["finding"] for one in events.events(NAME, kinds=["repair"])]


def calculation(digit: str, **info: Any) -> str:
    spec = {
        "hash": digit * 64,
        "kind": "compound",
        "code": "gpaw",
        "version": "1",
        "settings": {},
        "structure": {},
        "formula": "NaCl",
        "info": {"campaign": NAME, **info},
    }
    calculations.claim(spec)
    return digit * 64


def test_nothing_is_found_where_nothing_is_wrong(pad: Any) -> None:
    one, other = proposed(2)
    fail(one, State.PROPOSED, "the crystal cannot be built: two atoms at one place")
    candidates.transition(
        other,
        source=State.PROPOSED,
        to=State.REJECTED,
        token=0,
        agent="x",
        reason="connection lost",  # a rejection is an answer, whatever it says
    )
    assert examine(NAME, pad) == []


@pytest.mark.parametrize(
    "error",
    [
        "gave up after 3 attempts",
        "gave up after 3 attempts: OSError: [Errno 28] No space left on device",
        "RuntimeError: CUDA error: out of memory",
        "ServerSelectionTimeoutError: host:27017",
        "MissingModel: MEGNet's weights",
    ],
)
def test_candidates_that_the_machine_failed_are_tried_again(pad: Any, error: str) -> None:
    good, bad = proposed(2)
    candidates.transition(bad, source=State.PROPOSED, to=State.EVALUATED, token=0, agent="relax")
    fail(bad, State.EVALUATED, error)
    (finding,) = examine(NAME, pad)
    assert finding.id == f"retry-candidate:{bad}"
    assert error in finding.evidence
    before = candidates.load(bad)
    assert apply(NAME, pad, finding.id, by="ann") == f"{bad} is evaluated again"
    found = candidates.load(bad)
    assert (found.state, found.error, found.attempts) == ("evaluated", None, 0)
    assert len(found.history) == len(before.history) + 1
    assert found.history[-1]["agent"] == "ann"
    assert error in found.history[-1]["reason"]
    assert candidates.load(good).state == "proposed"
    assert examine(NAME, pad) == []
    assert repairs() == [finding.id]
    with pytest.raises(NotFound, match="no finding"):
        apply(NAME, pad, finding.id, by="ann")
    with pytest.raises(candidates.StaleLease):  # whoever worked on it before it failed
        candidates.transition(
            bad,
            source=State.EVALUATED,
            to=State.PRESCREENED,
            token=before.token,
            agent="late",
        )
    leased = candidates.lease(NAME, State.EVALUATED, "host/w", 5, 60)
    assert [one.id for one in leased] == [bad]


def test_a_campaign_without_its_loop_is_stopped(pad: Any) -> None:
    campaigns.set_state(NAME, "running")
    (finding,) = examine(NAME, pad)
    assert finding.id == f"stop-campaign:{NAME}"
    assert "nobody leads it" in finding.evidence
    apply(NAME, pad, finding.id, by="ann")
    found = campaigns.load(NAME)
    assert (found.state, found.stop_reason, found.leader) == ("stopped", "abandoned", None)
    assert examine(NAME, pad) == []


def test_a_campaign_with_its_loop_is_left_alone(pad: Any) -> None:
    campaigns.set_state(NAME, "running")
    campaigns.lead(NAME, "host/elsewhere/1/2/3", 60)
    assert examine(NAME, pad) == []


def test_a_live_model_that_is_gone_is_replaced_by_the_newest_sound_one(
    pad: Any, database: Session
) -> None:
    def store(payload: bytes, decision: str = "promoted") -> str:
        return model_versions.store(
            NAME, "property_head", payload, parent=None, metrics={}, labels={}, decision=decision
        )

    first, _, lost = store(b"one"), store(b"two", "refused"), store(b"three")
    assert campaigns.swap_live_model(NAME, None, lost)
    assert examine(NAME, pad) == []
    bucket = database.database["weights.chunks"]
    payload = model_versions.load(lost).payload
    bucket.update_one({"files_id": payload}, {"$set": {"data": b"other"}})
    (finding,) = examine(NAME, pad)
    assert finding.id == f"live-model:{lost}"
    assert first in finding.action
    apply(NAME, pad, finding.id, by="ann")
    assert campaigns.load(NAME).live_model == first
    bucket.delete_many({})  # the weights of all are gone: what the generator ships is left
    (finding,) = examine(NAME, pad)
    apply(NAME, pad, finding.id, by="ann")
    assert campaigns.load(NAME).live_model is None
    assert database.database["model_versions"].count_documents({}) == 3


def test_fireworks_that_nobody_waits_for_are_defused(pad: Any) -> None:
    orphan = add_firework(pad, {"calculation": "f" * 64, "hash": "f" * 64}, "lost")
    hash = calculation("a")
    wanted = add_firework(pad, {"calculation": hash, "hash": hash}, "wanted")
    calculations.advance(hash, "submitting", "submitted", fw_id=wanted)
    done = calculation("b")
    late = add_firework(pad, {"calculation": done, "hash": done}, "late")
    calculations.advance(done, "submitting", "failed", fw_id=late, error="defused")
    found = [one for one in examine(NAME, pad) if one.kind == "defuse-firework"]
    assert ids(found) == [f"defuse-firework:{orphan}", f"defuse-firework:{late}"]
    for one in found:
        apply(NAME, pad, one.id, by="ann")
    states = {one["fw_id"]: one["state"] for one in pad.fireworks.find()}
    assert states == {orphan: "DEFUSED", wanted: "READY", late: "DEFUSED"}
    assert repairs() == ids(found)


def test_calculations_without_a_launcher_need_one(pad: Any) -> None:
    hash = calculation("a")
    number = add_firework(pad, {"calculation": hash, "hash": hash}, "waits")
    calculations.advance(hash, "submitting", "submitted", fw_id=number)
    (finding,) = examine(NAME, pad)
    assert finding.id == f"no-launcher:{NAME}"
    assert "discovery worker --queue dft" in finding.action
    with pytest.raises(NotFound, match="start a launcher"):
        apply(NAME, pad, finding.id, by="ann")
    assert repairs() == []


@pytest.mark.parametrize(("kind", "listed"), [("lost", True), ("crashed", True), ("scf", False)])
def test_failed_calculations_are_listed_where_running_again_may_help(
    pad: Any, kind: str, listed: bool
) -> None:
    hash = calculation("a", failure={"kind": kind, "message": "x"})
    calculations.advance(hash, "submitting", "failed", error=f"{kind}: x")
    expected = [f"rerun-calculation:{hash[:12]}"] if listed else []
    assert ids(examine(NAME, pad)) == expected


def test_raw_outputs_that_are_gone_are_named(pad: Any, tmp_path: Path) -> None:
    hash = calculation("a")
    (tmp_path / "launch").mkdir()
    files = [{"path": "attempt-1/gpaw.txt.gz", "size": 1, "sha256": "0"}]
    outputs = {"folder": str(tmp_path / "launch"), "files": files}
    calculations.advance(hash, "submitting", "submitted", outputs=outputs)
    (finding,) = examine(NAME, pad)
    assert finding.id == f"missing-outputs:{hash[:12]}"
    assert "attempt-1/gpaw.txt.gz" in finding.evidence
    (tmp_path / "launch" / "attempt-1").mkdir()
    (tmp_path / "launch" / "attempt-1" / "gpaw.txt.gz").write_bytes(b"x")
    assert examine(NAME, pad) == []


def test_the_command_changes_nothing_until_it_is_told(
    pad: Any, mongo_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bad,) = proposed(1)
    fail(bad, State.PROPOSED, "gave up after 3 attempts")
    wanted = f"retry-candidate:{bad}"

    def run(*arguments: str) -> Any:
        ended = CliRunner().invoke(
            app, ["repair", NAME, "--db", mongo_session.uri, "--json", *arguments]
        )
        assert ended.exit_code == 0, ended.output
        return json.loads(ended.stdout)

    assert [one["id"] for one in run()["findings"]] == [wanted]
    assert run("--apply", wanted, "--dry-run")["done"][wanted].startswith("would: ")
    assert candidates.load(bad).state == "failed"
    assert repairs() == []
    told = run("--apply", wanted)
    assert told["findings"] == []
    assert told["done"] == {wanted: f"{bad} is proposed again"}
    assert candidates.load(bad).state == "proposed"
    assert events.events(NAME, kinds=["repair"])[0]["agent"].startswith("repair by ")
    again = CliRunner().invoke(app, ["repair", NAME, "--db", mongo_session.uri, "--apply", wanted])
    assert again.exit_code == 1
    assert isinstance(again.exception, NotFound)


def test_the_command_says_whether_something_was_changed(pad: Any, mongo_session: Session) -> None:
    one, other = proposed(2)
    for name in (one, other):
        fail(name, State.PROPOSED, "gave up after 3 attempts")

    def run(*arguments: str) -> str:
        ended = CliRunner().invoke(app, ["repair", NAME, "--db", mongo_session.uri, *arguments])
        assert ended.exit_code == 0, ended.output
        return ended.stdout

    wanted = ("--apply", f"retry-candidate:{one}")
    assert "Nothing was changed" in run()
    assert "Nothing was changed" in run(*wanted, "--dry-run")
    told = run(*wanted)
    assert "Nothing was changed" not in told
    assert f"To do one: discovery repair {NAME} --apply FINDING" in told
