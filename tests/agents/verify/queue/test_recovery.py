"""Recovery of the queue from records that dead, suspended and silent launchers leave behind."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fireworks import FWAction, FWorker

from agents.verify.queue import recovery, workflow_lock
from agents.verify.queue.launches import answer, attempts_of
from agents.verify.queue.launchpad import add_firework, launchpad
from agents.verify.queue.recovery import recover
from db.connection import Session
from db.owners import owner_name

SPEC: dict[str, Any] = {
    "calculation": "one",
    "code": "gpaw",
    "input": {},
    "timeout_seconds": 60.0,
    "nice": 0,
}


def start(pad: Any, launcher: str, silent_seconds: float = 0.0, **spec: Any) -> tuple[int, int]:
    """Do what a launcher does before it runs a calculation, some time ago.

    Returns:
        The Firework and its launch.
    """
    fw_id = add_firework(pad, {**SPEC, **spec}, "one")
    _, launch_id = pad.checkout_fw(FWorker(name=launcher), os.getcwd(), fw_id=fw_id)
    then = datetime.now(UTC) - timedelta(seconds=silent_seconds)
    pad.ping_launch(launch_id, ptime=then)
    if silent_seconds:
        heard = {"report": last_sign(pad, launch_id), "at": then}  # somebody looked then
        pad.launches.update_one({"launch_id": launch_id}, {"$set": {"heard": heard}})
    return fw_id, launch_id


def last_sign(pad: Any, launch_id: int) -> str:
    """What a launch last reported."""
    return str(pad.launches.find_one({"launch_id": launch_id})["state_history"][-1]["updated_on"])


def state(pad: Any, fw_id: int) -> str:
    return str(pad.fireworks.find_one({"fw_id": fw_id})["state"])


@pytest.fixture
def gone() -> str:
    """The name of a launcher of this machine that does not run any more."""
    parts = owner_name().split("/")
    return "/".join([*parts[:3], "1", parts[4]])  # same process id, another start


def test_lock_of_a_killed_process_is_taken_by_force(
    database: Session, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    monkeypatch.setattr(workflow_lock, "LOCK_SECONDS", 0.3)
    pad = launchpad(database)
    fw_id, _ = start(pad, gone)
    pad.workflows.update_one({"nodes": fw_id}, {"$set": {"locked": True}})
    started = time.monotonic()
    assert recover(pad) == [fw_id]
    assert state(pad, fw_id) == "READY"
    _, launch_id = start(pad, owner_name())
    pad.workflows.update_one({"nodes": fw_id}, {"$set": {"locked": True}})
    pad.complete_launch(launch_id, FWAction(stored_data={"result": {}}), "COMPLETED")
    assert answer(pad, fw_id) == {"result": {}}
    assert time.monotonic() - started < 10
    assert "locked" not in pad.workflows.find_one({"nodes": fw_id})


def test_silent_launcher_elsewhere_is_lost_and_a_living_one_here_is_not(database: Session) -> None:
    pad = launchpad(database)
    here, _ = start(pad, owner_name(), silent_seconds=3600)
    assert recover(pad) == []
    assert state(pad, here) == "RUNNING"
    there, _ = start(pad, "elsewhere/boot/1/2/3", silent_seconds=3600, calculation="two")
    assert recover(pad) == [there]
    assert state(pad, here) == "RUNNING"


@pytest.mark.parametrize("days", [-1, 2])
def test_launcher_elsewhere_whose_clock_is_wrong_is_lost_when_it_falls_silent(
    database: Session, days: int
) -> None:
    pad = launchpad(database)
    fw_id, launch_id = start(pad, "elsewhere/boot/1/2/3")
    its_clock = datetime.now(UTC) + timedelta(days=days)
    for second in range(4):
        pad.ping_launch(launch_id, ptime=its_clock + timedelta(seconds=second))
        assert recover(pad, lost_seconds=0.4) == []
        time.sleep(0.2)
    time.sleep(0.5)  # it says nothing more
    assert recover(pad, lost_seconds=0.4) == [fw_id]


def test_living_launcher_that_runs_something_else_has_lost_its_launch(database: Session) -> None:
    pad = launchpad(database)
    launcher = owner_name()
    first, _ = start(pad, launcher)
    second, _ = start(pad, launcher, calculation="two")
    assert recover(pad) == [first]
    assert state(pad, second) == "RUNNING"
    assert recover(pad, idle=launcher) == [second]


def test_a_launch_that_is_reported_at_this_moment_is_not_lost(
    database: Session, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    pad = launchpad(database)
    fw_id, launch_id = start(pad, gone)

    def reports_and_exits(launcher: str) -> bool:
        pad.complete_launch(launch_id, FWAction(stored_data={"result": {}}), "COMPLETED")
        return True

    monkeypatch.setattr(recovery, "is_dead", reports_and_exits)
    assert recover(pad) == []
    assert state(pad, fw_id) == "COMPLETED"
    assert answer(pad, fw_id) == {"result": {}}


def test_launchers_that_share_a_name_do_not_take_each_other_for_lost(database: Session) -> None:
    """Jobs of one my_fworker.yaml all have its name."""
    pad = launchpad(database)
    first, _ = start(pad, "cluster-small")
    second, _ = start(pad, "cluster-small", calculation="two")
    assert recover(pad) == []
    silent, _ = start(pad, "cluster-small", silent_seconds=3600, calculation="three")
    assert recover(pad) == [silent]
    assert (state(pad, first), state(pad, second)) == ("RUNNING", "RUNNING")


def test_lost_and_interrupted_launches_cost_the_time_that_they_reported(
    database: Session, gone: str
) -> None:
    pad = launchpad(database)
    fw_id, lost = start(pad, gone, cores=4)
    began, heard = (datetime.now(UTC) - timedelta(seconds=ago) for ago in (100, 40))
    ran = [{"state": "RUNNING", "created_on": began, "updated_on": heard}]
    pad.launches.update_one({"launch_id": lost}, {"$set": {"state_history": ran}})
    assert recover(pad) == [fw_id]
    _, launch_id = pad.checkout_fw(FWorker(name=owner_name()), os.getcwd(), fw_id=fw_id)
    done: dict[str, Any] = {"core_seconds": 8.0, "error": None, "changes": {}}
    action = FWAction(stored_data={"result": {}, "attempts": [done]})
    pad.complete_launch(launch_id, action, "COMPLETED")
    first, second = attempts_of(pad, fw_id)
    assert first["error"]["kind"] == "lost"
    assert first["wall_seconds"] == pytest.approx(60.0, abs=0.1)
    assert first["core_seconds"] == pytest.approx(240.0, abs=0.4)
    assert second == {**done, "fw_id": fw_id}


def test_limits_of_the_campaign_are_in_force_whoever_recovers(database: Session) -> None:
    pad = launchpad(database)
    patient, _ = start(pad, "elsewhere/a/1/2/3", 200, lost_seconds=600.0, max_launches=2)
    hasty, _ = start(pad, "elsewhere/b/1/2/3", 20, calculation="two", lost_seconds=10.0)
    once, _ = start(
        pad, "elsewhere/c/1/2/3", 20, calculation="three", lost_seconds=10.0, max_launches=1
    )
    assert recover(pad, lost_seconds=60.0, max_launches=5) == [hasty]
    assert state(pad, patient) == "RUNNING"
    found = answer(pad, once, max_launches=5)
    assert found is not None
    assert found["error"]["kind"] == "lost"
