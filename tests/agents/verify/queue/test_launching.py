"""Launchers as real processes, on the real queue: results, timeouts, kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymatgen.core import Lattice, Structure

from agents.prediction import Prediction
from agents.stop import StopRequested
from agents.targets import Window
from agents.verify import firetask
from agents.verify.agent import VerifyAgent
from agents.verify.backend import resolve_backend
from agents.verify.collection import collect_calculations
from agents.verify.firetask import Interrupted, RunDFT, run_process
from agents.verify.gpaw.backend import GPAWBackend
from agents.verify.queue.launches import answer
from agents.verify.queue.launchpad import add_firework, launch, launchpad
from agents.verify.queue.recovery import recover
from agents.verify.settings import VerifySettings
from agents.verify.setup.presets import DFTSettings
from db import candidates
from db.connection import Session
from db.crystals import structure_to_record
from db.documents import Calculation
from db.states import State

CHILD_AND_GRANDCHILD = "import subprocess, time; subprocess.run(['sleep', '{}'])"


def diamond(a: float = 5.469) -> Structure:
    """The conventional cell of silicon."""
    return Structure.from_spacegroup("Fd-3m", Lattice.cubic(a), ["Si"], [[0, 0, 0]])


def running(marker: str) -> list[int]:
    """Processes whose command line holds a marker, from /proc; zombies do not count."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if marker in command and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def wait_until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"{condition} did not become true in {seconds} s")


def unique_duration() -> str:
    """A sleep that no other process on this machine asks for, so that it can be found."""
    return f"1000.{time.time_ns()}"


def test_timeout_kills_the_whole_process_group(tmp_path: Path) -> None:
    marker = unique_duration()
    command = [sys.executable, "-c", CHILD_AND_GRANDCHILD.format(marker)]
    found: list[dict[str, Any]] = []
    target = tmp_path / "output.json"
    thread = threading.Thread(
        target=lambda: found.append(run_process(command, tmp_path, target, timeout=2.0, nice=0))
    )
    thread.start()
    wait_until(lambda: len(running(marker)) >= 2)  # the guard carries it, too
    thread.join(timeout=30)
    assert found[0]["error"]["kind"] == "timeout"
    wait_until(lambda: not running(marker), 5)


def test_killed_process_is_an_answer(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
    found = run_process(command, tmp_path, tmp_path / "output.json", timeout=30, nice=0)
    assert found["error"]["kind"] == "killed"
    assert "SIGKILL" in found["error"]["message"]


def test_crash_keeps_the_end_of_the_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such crystal')"]
    found = run_process(command, tmp_path, tmp_path / "output.json", timeout=30, nice=0)
    assert found["error"]["kind"] == "crashed"
    assert "no such crystal" in found["error"]["log_tail"]


def test_subprocess_runs_on_one_thread_and_nicely(tmp_path: Path) -> None:
    program = (
        "import json, os; json.dump({'result': {'nice': os.nice(0), "
        "'threads': os.environ['OMP_NUM_THREADS'], 'session': os.getsid(0) == os.getppid()}}, "
        "open('output.json', 'w'))"
    )
    before = os.nice(0)
    command = [sys.executable, "-c", program]
    found = run_process(command, tmp_path, tmp_path / "output.json", timeout=30, nice=3)
    assert found["result"] == {"nice": min(19, before + 3), "threads": "1", "session": True}


def test_interruption_kills_and_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = unique_duration()
    monkeypatch.setattr(firetask, "stop", threading.Event())
    threading.Timer(0.5, firetask.stop.set).start()
    command = [sys.executable, "-c", CHILD_AND_GRANDCHILD.format(marker)]
    with pytest.raises(Interrupted):
        run_process(command, tmp_path, tmp_path / "output.json", timeout=60, nice=0)
    wait_until(lambda: not running(marker), 5)


def slow_spec() -> dict[str, Any]:
    """A GPAW calculation that takes far longer than any test."""
    settings = GPAWBackend().settings("fast").model_copy(update={"element_k_density": 40.0})
    return {
        "calculation": "slow",
        "code": "gpaw",
        "input": {"structure": structure_to_record(diamond()), "settings": settings.record()},
        "timeout_seconds": 600.0,
        "nice": 5,
    }


LAUNCHER = """
import sys
from pathlib import Path
from db.connection import connect_worker
from agents.verify.queue.launchpad import launch_until_stopped
with connect_worker(sys.argv[1], sys.argv[2]) as session:
    launch_until_stopped(session, home=Path(sys.argv[3]), ping_seconds=0.5)
"""


@pytest.fixture
def launcher(database: Session, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A launcher in a process of its own."""
    arguments = [database.uri, database.database_name, str(tmp_path)]
    process = subprocess.Popen([sys.executable, "-c", LAUNCHER, *arguments], cwd=tmp_path)
    yield process
    if process.poll() is None:
        process.kill()
    process.wait()


def test_killed_launcher_takes_gpaw_along_and_its_work_is_queued_again_once(
    database: Session, tmp_path: Path, launcher: subprocess.Popen[bytes]
) -> None:
    pad = launchpad(database)
    fw_id = add_firework(pad, slow_spec(), "slow")
    marker = str(tmp_path / "fireworks")
    wait_until(lambda: running(marker + "/launch"))
    os.kill(launcher.pid, signal.SIGKILL)
    launcher.wait()
    wait_until(lambda: not running(marker + "/launch"), 10)
    assert answer(pad, fw_id) is None
    assert recover(pad, max_launches=2) == [fw_id]
    assert recover(pad, max_launches=2) == []
    assert pad.fireworks.find_one({"fw_id": fw_id})["state"] == "READY"
    assert pad.launches.count_documents({}) == 1
    assert list(tmp_path.iterdir()) == [tmp_path / "fireworks"]  # nothing else is left lying


def test_calculation_that_loses_its_launcher_too_often_is_given_up(
    database: Session, tmp_path: Path, launcher: subprocess.Popen[bytes]
) -> None:
    pad = launchpad(database)
    fw_id = add_firework(pad, slow_spec(), "slow")
    wait_until(lambda: running(str(tmp_path / "fireworks") + "/launch"))
    os.kill(launcher.pid, signal.SIGKILL)
    launcher.wait()
    assert recover(pad, max_launches=1) == []
    found = answer(pad, fw_id, max_launches=1)
    assert found is not None
    assert found["error"]["kind"] == "lost"


def test_stopped_launcher_gives_its_work_back_at_once(
    database: Session, tmp_path: Path, launcher: subprocess.Popen[bytes]
) -> None:
    pad = launchpad(database)
    fw_id = add_firework(pad, slow_spec(), "slow")
    marker = str(tmp_path / "fireworks") + "/launch"
    wait_until(lambda: running(marker))
    launcher.terminate()
    assert launcher.wait(timeout=20) == 0
    assert not running(marker)
    assert pad.fireworks.find_one({"fw_id": fw_id})["state"] == "READY"
    assert answer(pad, fw_id) is None


def test_candidate_is_verified_by_gpaw_through_the_queue(
    database: Session, tmp_path: Path, add_candidate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = VerifySettings(max_submitted=1, max_completed=1, control_share=0.0, nice=0)
    resolved = resolve_backend(settings)
    assert resolved["level"].startswith("gpaw-")
    resolved["settings"]["element_k_density"] = 3.5  # quicker
    resolved["level"] = GPAWBackend().level(DFTSettings.model_validate(resolved["settings"]))
    gap = Prediction("band_gap", 0.7, "eV", "head", "1", "pbe", in_domain=True)
    predictions = (gap.record(),)
    name = add_candidate(diamond(), state=State.SCREENED, predictions=predictions)
    windows = (Window(property="band_gap", min=0.5, max=2.5),)
    agent = VerifyAgent("test", database, settings, windows, 1, resolved)
    progress = agent.step(last=True)
    assert (progress.submitted, progress.in_flight, progress.done) == (1, 1, False)
    assert Calculation.objects.count() == 2  # silicon in its own right, and as a reference
    done = launch(database, threading.Event(), home=tmp_path / "home", max_idle_seconds=0.5)
    assert done == 2
    progress = agent.step(last=True)
    assert (progress.completed, progress.hits, progress.done) == (1, 1, True)
    candidate = candidates.load(name)
    assert candidate.state == State.VERIFIED
    assert candidate.selection["inside"] is True
    found = candidate.verification
    assert found["band_gap"] == pytest.approx(0.61, abs=0.02)  # PBE, RECIPES
    assert found["formation_energy_per_atom"] == pytest.approx(0.0, abs=0.005)
    result = Calculation.objects(kind="compound").first().result
    assert result["band_gap"] <= result["band_gap_scf"]
    assert result["n_atoms"] == 2  # the primitive cell of the eight atoms given
    assert collect_calculations(agent.pad, settings) == 0
    assert Path.cwd() == tmp_path
    assert list(tmp_path.iterdir()) == [tmp_path / "home"]


def test_a_launcher_that_is_torn_out_of_its_calculation_leaves_it_to_be_run_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def torn(*_: object) -> None:
        raise StopRequested

    monkeypatch.setattr(RunDFT, "_run", torn)
    with pytest.raises(Interrupted) as caught:
        RunDFT().run_task({})
    assert caught.value.to_dict() == {"interrupted": True}  # what recovery looks for
