"""Workflows of several calculations on the real queue; the DFT code is a line of Python."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pymatgen.core import Lattice, Structure

from agents.verify import submission as submission_module
from agents.verify.identity import calculation_spec
from agents.verify.queue.attempts import may_retry
from agents.verify.queue.launchpad import add_firework, launch
from agents.verify.queue.outputs import keep, missing
from agents.verify.settings import VerifySettings
from agents.verify.setup.ladder import changes_level, ladder
from agents.verify.setup.presets import DFTSettings, preset
from agents.verify.submission import Submission
from agents.verify.workflow import estimate, steps
from db import calculations, candidates
from db.connection import Session
from db.documents import Calculation
from db.states import CalculationState

SETTINGS = VerifySettings(relax=True, separate_gap=True, nice=0)
Script = dict[str, Any]
Run = Callable[..., int]


def cscl(a: float = 4.1) -> Structure:
    return Structure(Lattice.cubic(a), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def by_task() -> dict[str, Calculation]:
    return {one.task: one for one in Calculation.objects(kind="compound")}


def test_relax_static_and_gap_run_in_order_and_hand_on_crystal_and_files(
    queue: Submission, add_candidate: Any, run: Run
) -> None:
    name = add_candidate(cscl())
    hashes = queue.submit(name)
    workflow = queue.pad.workflows.find_one({"name": {"$regex": "^CsCl relax"}})
    assert len(workflow["nodes"]) == 3
    states = {
        one.task: queue.pad.fireworks.find_one({"fw_id": one.fw_id})
        for one in Calculation.objects(kind="compound")
    }
    assert {task: one["state"] for task, one in states.items()} == {
        "relax": "READY",
        "static": "WAITING",
        "gap": "WAITING",
    }
    chain = [states[task]["fw_id"] for task in ("relax", "static", "gap")]
    assert workflow["links"] == {
        str(chain[0]): [chain[1]],
        str(chain[1]): [chain[2]],
        str(chain[2]): [],
    }
    assert {one["spec"]["_category"] for one in states.values()} == {
        "dft-relax",
        "dft-static",
        "dft-gap",
    }
    assert run() == 5  # with two references
    found = by_task()
    assert found["static"].parent == found["relax"].hash
    assert found["gap"].parent == found["static"].hash
    assert found["static"].result["structure"]["lattice"][0][0] == pytest.approx(4.51)
    assert found["gap"].result["structure"] == found["static"].result["structure"]
    record = candidates.load(name).verification
    assert record["calculations"] == hashes
    assert {hashes[one] for one in ("relax", "compound", "gap")} == {
        one.hash for one in found.values()
    }
    assert (record["band_gap"], record["hit"]) == (1.0, True)
    assert record["core_seconds"] == 3.0
    assert record["core_seconds_with_references"] == 5.0
    workflow = queue.pad.workflows.find_one({"nodes": chain[0]})
    assert workflow["state"] == "COMPLETED"
    histories = [[entry["to"] for entry in one.history] for one in found.values()]
    assert histories == [["submitted", "completed"]] * 3


@pytest.mark.parametrize(("gap", "kept"), [(1.0, True), (3.0, False)])
def test_outputs_are_kept_compressed_and_the_density_only_of_hits(
    queue: Submission, script: Script, add_candidate: Any, run: Run, gap: float, kept: bool
) -> None:
    script.update({"gap_is": gap})
    queue.submit(add_candidate(cscl()))
    run()
    static = by_task()["static"]
    outputs = static.outputs
    folder = Path(outputs["folder"])
    assert (folder / "attempt-1" / "density.gpw").exists() is kept
    paths = {one["path"]: one for one in outputs["files"]}
    assert ("attempt-1/density.gpw" in paths) is kept
    log = folder / "attempt-1/scf.txt.gz"
    assert gzip.decompress(log.read_bytes()) == b"iteration\n" * 1000
    entry = paths["attempt-1/scf.txt.gz"]
    assert entry["size"] == log.stat().st_size < 1000
    assert entry["sha256"] == hashlib.sha256(log.read_bytes()).hexdigest()
    assert missing(outputs) == []
    log.write_bytes(b"changed")
    assert missing(outputs) == ["attempt-1/scf.txt.gz"]


def test_files_above_the_limit_are_left_out_and_named(tmp_path: Path) -> None:
    place = tmp_path / "attempt-1"
    place.mkdir()
    (tmp_path / "FW_job.out").write_text("open still")
    (place / "noise.bin").write_bytes(bytes(hash((n, "x")) % 256 for n in range(5000)))
    (place / "density.gpw").write_bytes(b"x" * 5000)
    (place / "log.txt").write_text("fine")
    (place / "empty.log").touch()
    (place / "link").symlink_to(tmp_path / "FW_job.out")
    kept = keep(tmp_path, restart=True, max_bytes=1000)
    assert [one["path"] for one in kept["files"]] == [
        "attempt-1/density.gpw",
        "attempt-1/log.txt.gz",
    ]
    assert [one["path"] for one in kept["left_out"]] == ["attempt-1/noise.bin.gz"]
    assert kept["left_out"][0]["size"] > 1000
    left = {str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*") if one.is_file()}
    assert left == {"FW_job.out", "attempt-1/density.gpw", "attempt-1/log.txt.gz"}


def test_settings_change_rung_by_rung_until_it_converges(
    queue: Submission, script: Script, add_candidate: Any, run: Run
) -> None:
    script.update({"static": {"unconverged_below": 0.1}})
    name = add_candidate(cscl())
    queue.submit(name)
    run()
    static = by_task()["static"]
    rungs = ladder("gpaw", static.settings, 4)
    assert [one["changes"] for one in static.attempts] == rungs[: len(static.attempts)]
    assert [one["error"] and one["error"]["kind"] for one in static.attempts[:-1]] == ["scf"] * (
        len(static.attempts) - 1
    )
    assert static.attempts[-1]["error"] is None
    assert static.result["changes"] == static.attempts[-1]["changes"]
    assert static.result["changes"]["smearing"] == pytest.approx(0.1)
    assert all(one["core_seconds"] > 0 for one in static.attempts)
    assert candidates.load(name).verification["changed_settings"] == {
        static.hash: static.result["changes"]
    }
    seen = gzip.decompress((Path(static.attempts[-1]["folder"]) / "seen.json.gz").read_bytes())
    assert json.loads(seen)["changes"] == static.result["changes"]


def test_ladder_ends_and_its_length_is_configurable(
    queue: Submission,
    script: Script,
    add_candidate: Any,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(type(queue.backend), "cores", 4)
    script.update({"static": {"unconverged_below": 9.0}})
    queue.settings = SETTINGS.model_copy(update={"max_attempts": 2})
    name = add_candidate(cscl())
    queue.submit(name)
    run()
    attempts = by_task()["static"].attempts
    assert len(attempts) == 2
    assert [one["core_seconds"] for one in attempts] == [
        4 * one["wall_seconds"] for one in attempts
    ]
    assert candidates.load(name).error == "dft: scf: no"


def test_rungs_that_leave_the_level_are_told_from_those_that_do_not() -> None:
    rungs = ladder("gpaw", preset("standard").record(), 9)
    assert rungs[0] == {}
    assert [changes_level(one) for one in rungs] == sorted(changes_level(one) for one in rungs)
    assert rungs[-1]["cutoff"] == pytest.approx(750.0)
    for rung in rungs:
        mixer = {"mixer": rung["mixer"]} if "mixer" in rung else {}
        own = {name: value for name, value in rung.items() if name != "mixer"}
        DFTSettings.model_validate({**preset("standard").record(), **own})
        assert set(rung) == {*own, *mixer}
    assert ladder("vasp", {}, 4) == [{}]


def test_failed_relaxation_fails_what_starts_from_it_without_running_it(
    queue: Submission, script: Script, add_candidate: Any, run: Run
) -> None:
    script.update({"relax": {"killed": True}})
    name = add_candidate(cscl())
    queue.submit(name)
    run()
    found = by_task()
    assert [found[task].state for task in ("relax", "static", "gap")] == ["failed"] * 3
    assert found["gap"].error.startswith("parent: the static it starts from failed: parent: the")
    assert found["static"].attempts == []
    assert candidates.load(name).error == ("dft: relax: killed: the process was killed by SIGKILL")


def test_chain_is_run_again_from_the_step_that_was_killed(
    queue: Submission, script: Script, add_candidate: Any, run: Run
) -> None:
    script.update({"static": {"killed": True}})
    queue.submit(add_candidate(cscl()))
    run()
    first = by_task()
    assert [first[task].state for task in ("relax", "static", "gap")] == [
        "completed",
        "failed",
        "failed",
    ]
    assert not may_retry(first["gap"], 180.0)  # its parent is as it was
    script.clear()
    name = add_candidate(cscl())
    queue.submit(name)
    assert run() == 2
    again = by_task()
    assert {task: one.hash for task, one in again.items()} == {
        task: one.hash for task, one in first.items()
    }
    assert candidates.load(name).verification["band_gap"] == 1.0
    assert again["relax"].fw_id == first["relax"].fw_id
    assert [one["error"] and one["error"]["kind"] for one in again["static"].attempts] == [
        "killed",
        None,
    ]
    nodes = queue.pad.workflows.find_one({"nodes": again["gap"].fw_id})["nodes"]
    assert nodes == [again["static"].fw_id, again["gap"].fw_id]


def test_child_queued_after_its_parent_completed_runs_at_once(
    queue: Submission, script: Script, add_candidate: Any, run: Run
) -> None:
    queue.settings = SETTINGS.model_copy(update={"separate_gap": False})
    hashes = queue.submit(add_candidate(cscl()))
    run()
    spec = calculation_spec(
        queue.backend,
        cscl(),
        queue.dft,
        kind="compound",
        task="bands",
        parent=hashes["compound"],
    )
    assert queue.queue(spec) == spec["hash"] == queue.queue(spec)
    assert run() == 1
    assert calculations.load(spec["hash"]).state == "completed"
    assert queue.pad.fireworks.count_documents({"spec.hash": spec["hash"]}) == 1


def test_child_added_to_a_workflow_whose_parent_ran_before_it_was_collected(
    database: Session, queue: Submission, add_candidate: Any, tmp_path: Path, run: Run
) -> None:
    """The launcher is faster than the loop: the record says ``submitted``, FireWorks is done."""
    relaxed = calculation_spec(queue.backend, cscl(), queue.dft, kind="compound", task="relax")
    parent = queue.queue(relaxed)
    launch(database, threading.Event(), home=tmp_path / "home", max_idle_seconds=0.0)
    assert calculations.load(parent).state == "submitted"
    child = queue.queue(
        calculation_spec(queue.backend, cscl(), queue.dft, kind="compound", parent=parent)
    )
    assert run() == 1
    lattice = calculations.load(child).result["structure"]["lattice"]
    assert lattice[0][0] == pytest.approx(4.51)


def test_launcher_of_a_category_takes_only_its_own(
    queue: Submission, add_candidate: Any, run: Run
) -> None:
    queue.submit(add_candidate(cscl()))
    assert run(category="dft-gap") == 0
    assert run(category="dft-relax") == 1
    assert run(category="dft-relax") == 0
    assert by_task()["relax"].state == "completed"
    assert by_task()["static"].state == "submitted"
    assert run(category=["dft-static", "dft-gap"]) == 4


class Crash(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("calls_before_crash", range(0, 13))
def test_crash_anywhere_while_a_workflow_is_queued_is_repaired(
    queue: Submission,
    add_candidate: Any,
    monkeypatch: pytest.MonkeyPatch,
    calls_before_crash: int,
) -> None:
    name = add_candidate(cscl())
    remaining = iter([False] * calls_before_crash + [True])

    def dies(function: Any) -> Any:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            if next(remaining, False):
                raise Crash
            return function(*arguments, **options)

        return wrapped

    with monkeypatch.context() as patch:
        from agents.verify.queue import launchpad as launchpad_module

        patch.setattr(submission_module, "add_firework", dies(add_firework))
        patch.setattr(launchpad_module, "append", dies(launchpad_module.append))
        patch.setattr(launchpad_module, "_insert", dies(launchpad_module._insert))
        patch.setattr(calculations, "advance", dies(calculations.advance))
        with pytest.raises(Crash):
            queue.submit(name)
    queue.reconcile()
    queue.submit(name)
    assert queue.reconcile() == 0
    assert queue.pad.fireworks.count_documents({}) == 5
    assert {one.state for one in Calculation.objects} == {CalculationState.SUBMITTED}
    chains = sorted(len(one["nodes"]) for one in queue.pad.workflows.find({}))
    assert chains[-3:] == [1, 1, 3]


def test_duplicate_in_another_setting_shares_the_whole_workflow(
    queue: Submission, add_candidate: Any, run: Run
) -> None:
    other = cscl()
    other.translate_sites([0, 1], [0.13, 0.2, 0.31])
    other.make_supercell([[1, 1, 0], [0, 1, 0], [0, 0, 2]])
    other.perturb(1e-4)
    names = [add_candidate(cscl()), add_candidate(other)]
    first, second = (queue.submit(name) for name in names)
    assert first == second
    assert run() == 5
    assert [candidates.load(name).state for name in names] == ["verified"] * 2


def test_preset_decides_whether_the_gap_is_a_calculation_of_its_own(
    queue: Submission, script: Script
) -> None:
    def names(**settings: Any) -> list[str]:
        return [step.name for step in steps(VerifySettings(**settings))]

    assert names() == ["compound"]
    assert names(preset="standard") == ["compound", "gap"]
    assert names(preset="standard", relax=True) == ["relax", "compound", "gap"]
    assert names(preset="standard", separate_gap=False) == ["compound"]
    whole = estimate(queue.backend, cscl(), queue.dft, VerifySettings())
    assert whole == queue.backend.estimate_core_seconds(cscl(), queue.dft)
    assert estimate(queue.backend, cscl(), queue.dft, SETTINGS) > 5 * whole
