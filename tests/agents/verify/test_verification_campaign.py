"""DFT calls that go wrong in every way, by real launchers and GPAW: the verification ends.

The level of theory is far too coarse for physics, so that each process takes seconds; what is
looked at is who was computed, how often, and what the records say.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymatgen.core import Lattice, Structure

from agents.targets import Window
from agents.verify.agent import Progress, VerifyAgent
from agents.verify.backend import resolve_backend
from agents.verify.gpaw.backend import GPAWBackend
from agents.verify.identity import calculation_spec
from agents.verify.queue.outputs import missing
from agents.verify.settings import VerifySettings
from db import candidates
from db.connection import Session
from db.documents import Calculation, Candidate
from db.states import State

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(900)]

WINDOWS = (Window(property="band_gap", min=5.0),)
COARSE: dict[str, Any] = {
    "cutoff": 250.0,
    "element_k_density": 1.0,
    "gap_k_density": 4.0,
    "max_iterations": 9,
}
PATIENT = 300.0
"""A limit (s) that nothing here reaches, on however busy a machine."""


def silicon() -> Structure:
    return Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.469), ["Si"], [[0, 0, 0]])


def in_another_setting() -> Structure:
    """The same crystal in a sheared supercell, at another origin, rattled by 1e-4 Å."""
    other = silicon().get_primitive_structure()
    other.make_supercell([[1, 1, 0], [0, 1, 0], [0, 0, 2]])
    other.translate_sites(list(range(len(other))), [0.13, 0.2, 0.31])
    other.perturb(1e-4)
    return other


def large(scale: float) -> Structure:
    """A crystal of 64 atoms without symmetry: minutes of work."""
    crystal = silicon()
    crystal.make_supercell(2)
    crystal.scale_lattice(crystal.volume * scale)
    crystal.perturb(0.3)
    return crystal


def iron() -> Structure:
    """Far from its equilibrium moment: not to be converged in so few iterations."""
    return Structure(Lattice.cubic(2.35), ["Fe"], [[0, 0, 0]])


@pytest.fixture
def launchers(database: Session, tmp_path: Path) -> Iterator[None]:
    """Two ``rlaunch`` of FireWorks, side by side."""
    (tmp_path / "my_launchpad.yaml").write_text(
        f"host: {database.uri}\nname: {database.database_name}\nuri_mode: true\n"
    )
    rlaunch = str(Path(sys.executable).parent / "rlaunch")
    arguments = ["-l", "my_launchpad.yaml", "rapidfire", "--nlaunches", "infinite", "--sleep", "1"]
    with (tmp_path / "rlaunch.log").open("w") as log:
        running = [
            subprocess.Popen([rlaunch, *arguments], cwd=tmp_path, stdout=log, stderr=log)
            for _ in range(2)
        ]
        yield
        for process in running:
            process.send_signal(signal.SIGINT)
        for process in running:
            process.wait(timeout=60)


def runner_in(folder: str) -> int | None:
    """Find the process of GPAW that works in a launch directory."""
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if "gpaw.runner" in command and f"{folder}/" in command:
            return int(process.name)
    return None


def kill(agent: VerifyAgent, calculation: str) -> bool:
    """Kill the process of a calculation, as soon as it runs."""
    firework = agent.pad.fireworks.find_one({"spec.hash": calculation, "state": "RUNNING"})
    launch = agent.pad.launches.find_one({"fw_id": firework["fw_id"]}) if firework else None
    process = runner_in(launch["launch_dir"]) if launch else None
    if process is None:
        return False
    os.kill(process, signal.SIGKILL)
    return True


def verify_until_the_end(agent: VerifyAgent, to_kill: str) -> Progress:
    killed = False
    deadline = time.monotonic() + 800
    while True:
        killed = killed or kill(agent, to_kill)
        progress = agent.step(last=True)
        if progress.done and not Calculation.objects(state="submitted").count():
            return progress
        assert time.monotonic() < deadline, progress
        time.sleep(0.5)


def test_verification_ends_whatever_becomes_of_its_calculations(
    database: Session, add_candidate: Any, launchers: None
) -> None:
    limits = {"max_submitted": 9, "max_completed": 9, "max_concurrent": 9, "min_pool": 1}
    budget = {"max_core_seconds": 1e9, "max_core_hours": 1e6, "control_share": 0.0}
    settings = VerifySettings(
        **limits, **budget, separate_gap=True, max_attempts=2, timeout_seconds=PATIENT, nice=0
    )
    resolved = resolve_backend(settings)
    gpaw = GPAWBackend()
    dft = gpaw.settings("fast").model_copy(update=COARSE)
    resolved |= {"settings": dft.record(), "level": gpaw.level(dft)}
    agent = VerifyAgent("test", database, settings, WINDOWS, 1, resolved)
    hasty = VerifyAgent(
        "test",
        database,
        settings.model_copy(update={"timeout_seconds": 6.0}),
        WINDOWS,
        1,
        resolved,
    )
    for element in ("Si", "Fe"):  # with the patient agent's limit
        agent.submission.queue(agent.submission.reference_spec(element))
    late = add_candidate(large(1.0), state=State.SCREENED)
    hasty.select(last=True)
    hasty.submit()
    good = add_candidate(silicon(), state=State.SCREENED)
    agent.step(last=True)
    again = add_candidate(in_another_setting(), state=State.SCREENED)
    doomed = add_candidate(large(1.05), state=State.SCREENED)
    unconverged = add_candidate(iron(), state=State.SCREENED)
    agent.step(last=True)
    (victim,) = (
        one.hash for one in Calculation.objects(task="static", candidates=doomed, kind="compound")
    )
    progress = verify_until_the_end(agent, victim)
    assert (progress.submitted, progress.completed, progress.failed) == (5, 2, 3)
    assert Candidate.objects(state="verifying").count() == 0

    record = {name: candidates.load(name) for name in (good, again, late, doomed, unconverged)}
    assert [record[name].state for name in (good, again)] == ["verified", "verified"]
    assert record[late].error == "dft: timeout: no result within 6 s"
    assert record[doomed].error == "dft: killed: the process was killed by SIGKILL"
    assert "scf: SCF did not converge" in record[unconverged].error

    hashes = {name: one.verification["calculations"] for name, one in record.items()}
    assert hashes[again] == hashes[good]
    own = calculation_spec(gpaw, in_another_setting(), dft, kind="compound", task="static")
    assert own["formula"] == "Si"
    launches = agent.pad.launches.find({"state": "COMPLETED"}, {"fw_id": 1})
    assert max(Counter(one["fw_id"] for one in launches).values()) == 1
    assert Calculation.objects(formula="Si", kind="compound", task="gap").count() == 3

    def attempts(name: str, step: str = "compound") -> list[tuple[str | None, list[str]]]:
        found = Calculation.objects(hash=hashes[name][step]).first()
        return [
            (one["error"] and one["error"]["kind"], sorted(one["changes"]))
            for one in found.attempts
        ]

    assert attempts(good) == attempts(good, "gap") == [(None, [])]
    assert attempts(late) == [("timeout", [])]
    assert attempts(doomed) == [("killed", [])]
    assert attempts(unconverged) == [("scf", []), ("scf", ["max_iterations", "mixer"])]
    assert attempts(unconverged, "gap") == []
    for name in (late, doomed, unconverged):
        gap = Calculation.objects(hash=hashes[name]["gap"]).first()
        assert gap.error.startswith("parent: the static it starts from failed: ")

    computed = Calculation.objects(hash=hashes[good]["gap"]).first()
    assert computed.result["density"] == "parent"
    assert record[good].verification["band_gap"] == computed.result["band_gap"]
    for one in Calculation.objects(state="completed"):
        assert one.outputs["files"]
        assert missing(one.outputs) == []
        assert not [file for file in one.outputs["files"] if file["path"].endswith("density.gpw")]
    spent = sum(attempt["core_seconds"] for one in Calculation.objects for attempt in one.attempts)
    assert agent.core_time().spent == pytest.approx(spent)
    assert agent.core_time().in_flight == 0
    timed_out = Calculation.objects(hash=hashes[late]["compound"]).first()
    assert timed_out.attempts[0]["core_seconds"] == pytest.approx(6.0, abs=3.0)
