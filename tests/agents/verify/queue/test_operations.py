"""What a person does with calculations: lists, runs again, takes out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pymatgen.core import Lattice, Structure

from agents.verify.queue import operations
from agents.verify.queue.launchpad import launch, take_out
from agents.verify.queue.operations import CannotDo
from agents.verify.submission import Submission
from db import calculations, campaigns, candidates
from db.connection import Session
from db.documents import Calculation

Run = Callable[..., int]
ME = "user someone"


@pytest.fixture
def crystal() -> Structure:
    return Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture(autouse=True)
def campaign(queue: Submission, database: Session) -> None:
    """The campaign that pays."""
    config = {"verify": queue.settings.model_dump(mode="json"), "targets": []}
    campaigns.create("test", config=config, resolved={}, seed=1)


def by_task() -> dict[str, Calculation]:
    return {one.task: one for one in Calculation.objects(kind="compound")}


def test_list_says_what_is_queued_what_it_cost_and_why_it_failed(
    queue: Submission, script: dict[str, Any], add_candidate: Any, crystal: Structure, run: Run
) -> None:
    name = add_candidate(crystal)
    other = add_candidate(crystal, campaign="other")
    queue.submit(name)
    queued = operations.rows(queue.pad, state="submitted")
    states = {one.task: one.queue_state for one in queued if one.kind == "compound"}
    assert states == {"relax": "READY", "static": "WAITING", "gap": "WAITING"}
    script["gap"] = {"killed": True}
    run()
    (failed,) = operations.rows(queue.pad, campaign="test", state="failed")
    assert (failed.task, failed.attempts, failed.category) == ("gap", 1, "dft-gap")
    assert failed.error == "killed: the process was killed by SIGKILL"
    assert failed.candidates == (name,)
    assert failed.core_hours > 0
    assert len(operations.rows(queue.pad)) == 5
    assert operations.rows(queue.pad, task="static", state="completed")[0].error is None
    assert operations.rows(queue.pad, campaign="other") == []
    calculations.link_candidate(by_task()["relax"].hash, other)
    assert [one.task for one in operations.rows(queue.pad, campaign="other")] == ["relax"]


def test_failed_calculation_is_run_again_with_other_settings_and_its_candidate_is_verified(
    queue: Submission, script: dict[str, Any], add_candidate: Any, crystal: Structure, run: Run
) -> None:
    name = add_candidate(crystal)
    queue.submit(name)
    script["static"] = {"unconverged_below": 0.5}
    run()
    assert candidates.load(name).error == "dft: scf: no"
    gap, static = by_task()["gap"], by_task()["static"]
    queued = operations.rerun(queue.pad, gap, by=ME, changes={"smearing": 0.6})
    assert queued == [static.hash, gap.hash]  # what really failed, and what waits for it
    assert candidates.load(name).state == "verifying"
    assert candidates.load(name).error is None
    assert run() == 2
    record = candidates.load(name)
    assert record.state == "verified"
    assert record.verification["changed_settings"] == {static.hash: {"smearing": 0.6}}
    (entry,) = [one for one in record.history if one["from"] == "failed"]
    assert (entry["agent"], entry["to"]) == (ME, "verifying")
    static = by_task()["static"]
    said = [(one["by"], one["from"], one["to"]) for one in static.history]
    assert said == [
        ("verify", "submitting", "submitted"),
        ("verify", "submitted", "failed"),
        (ME, "failed", "submitting"),
        ("verify", "submitting", "submitted"),
        ("verify", "submitted", "completed"),
    ]
    assert "smearing" in static.history[2]["note"]
    assert len(static.attempts) == 5  # the ladder's four, and this one
    shown = operations.show(queue.pad, static)
    assert (shown["parent"], shown["children"]) == (by_task()["relax"].hash, [gap.hash])
    assert shown["missing_outputs"] == []
    (Path(shown["outputs"]["folder"]) / shown["outputs"]["files"][0]["path"]).unlink()
    assert len(operations.show(queue.pad, static)["missing_outputs"]) == 1


def test_only_failed_calculations_are_run_again_and_only_with_possible_settings(
    queue: Submission, script: dict[str, Any], add_candidate: Any, crystal: Structure, run: Run
) -> None:
    queue.submit(add_candidate(crystal))
    with pytest.raises(CannotDo, match="is submitted: only failed calculations"):
        operations.rerun(queue.pad, by_task()["relax"], by=ME)
    script["relax"] = {"killed": True}
    run()
    with pytest.raises(CannotDo, match="smearing"):
        operations.rerun(queue.pad, by_task()["relax"], by=ME, changes={"smearing": -1.0})
    with pytest.raises(CannotDo, match="is failed: only queued or running"):
        operations.defuse(queue.pad, by_task()["relax"], by=ME)
    with pytest.raises(CannotDo, match="no calculation begins with 'xyz'"):
        operations.find("xyz")
    with pytest.raises(CannotDo, match="no calculation begins with ''"):
        operations.find("")
    assert operations.find(by_task()["relax"].hash[:10]).task == "relax"


def test_hashes_that_begin_alike_are_told_apart(database: Session) -> None:
    for name in ("abc1", "abc2"):
        fields = {"kind": "compound", "code": "gpaw", "version": "1", "settings": {}}
        calculations.claim({"hash": name, **fields, "structure": {}, "formula": "NaCl"})
    with pytest.raises(CannotDo, match=r"abc1 \(NaCl static\), abc2 \(NaCl static\)"):
        operations.find("abc")
    assert operations.find("abc2").hash == "abc2"


def test_queued_calculation_is_taken_out_with_what_starts_from_it(
    queue: Submission, add_candidate: Any, crystal: Structure, run: Run
) -> None:
    name = add_candidate(crystal)
    queue.submit(name)
    operations.defuse(queue.pad, by_task()["relax"], by=ME, why="wrong polymorph")
    assert run() == 2  # the references
    assert {one.state for one in by_task().values()} == {"failed"}
    expected = "defused: taken out by user someone: wrong polymorph"
    assert by_task()["relax"].error == expected
    assert by_task()["relax"].history[-1]["by"] == ME
    assert candidates.load(name).error == f"dft: relax: {expected}"
    states = {one["state"] for one in queue.pad.fireworks.find({"spec.parent": {"$ne": None}})}
    assert states == {"DEFUSED"}


def test_running_calculation_is_stopped_by_its_launcher(
    queue: Submission,
    script: dict[str, Any],
    database: Session,
    add_candidate: Any,
    crystal: Structure,
    tmp_path: Path,
    run: Run,
) -> None:
    name = add_candidate(crystal)
    queue.submit(name)
    script["relax"] = {"seconds": 600}
    pad, fw_id = queue.pad, by_task()["relax"].fw_id
    said: list[str] = []

    def take_out() -> None:
        deadline = time.monotonic() + 30
        while pad.fireworks.find_one({"fw_id": fw_id})["state"] != "RUNNING":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        said.append(operations.defuse(pad, by_task()["relax"], by=ME, why="too slow"))

    person = threading.Thread(target=take_out)
    person.start()
    started = time.monotonic()
    launch(database, threading.Event(), home=tmp_path / "home", max_idle_seconds=0.0)
    assert time.monotonic() - started < 60
    person.join()
    assert said[0].startswith("it runs")
    run()
    assert by_task()["relax"].error == "defused: taken out by user someone: too slow"
    assert "defused" in candidates.load(name).error
    notes = [one["note"] for one in by_task()["relax"].history if one["by"] == ME]
    assert notes == ["asked to stop; taken out by user someone: too slow"]


def test_a_firework_that_a_launcher_has_taken_is_not_reset(
    queue: Submission, add_candidate: Any, crystal: Structure
) -> None:
    queue.submit(add_candidate(crystal))
    fireworks, fw_id = queue.pad.fireworks, by_task()["relax"].fw_id
    for state, out in (("RUNNING", False), ("RESERVED", False), ("RESERVED", True)):
        fireworks.update_one({"fw_id": fw_id}, {"$set": {"state": state}})
        if out:  # it waits in a batch system
            launch_there = {"fw_id": fw_id, "launch_id": 10**6, "state": "RESERVED"}
            queue.pad.launches.insert_one(launch_there)
        before = fireworks.find_one({"fw_id": fw_id})
        assert take_out(queue.pad, fw_id) is out
        after = fireworks.find_one({"fw_id": fw_id})
        assert after["state"] == ("DEFUSED" if out else state)
        assert out or after == before
    fireworks.update_one({"fw_id": fw_id}, {"$set": {"state": "COMPLETED"}})
    with pytest.raises(CannotDo, match="has just ended"):
        operations.defuse(queue.pad, by_task()["relax"], by=ME)
    assert by_task()["relax"].state == "submitted"
