"""A campaign on the real database, and a DFT code that answers without computing anything."""

from __future__ import annotations

import itertools
import json
import math
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from pymatgen.core import Lattice, Structure

from agents.targets import Window
from agents.verify import firetask
from agents.verify.backend import Availability, DFTBackend
from agents.verify.collection import collect
from agents.verify.properties.references import diatomic, is_molecule
from agents.verify.queue import operations
from agents.verify.queue.launchpad import launch, launchpad
from agents.verify.settings import VerifySettings
from agents.verify.setup.presets import DFTSettings, preset
from agents.verify.submission import Submission
from db import candidates
from db.connection import Session
from db.crystals import crystal_fields, structure_to_record
from db.states import State

FUNNEL = [
    State.PROPOSED,
    State.EVALUATED,
    State.PRESCREENED,
    State.RELAXING,
    State.RELAXED,
    State.SCREENED,
    State.SELECTED,
]


RUNNER = """
import json, os, pathlib, sys, time
task = json.loads(pathlib.Path(sys.argv[1]).read_text())
script = json.loads(sys.argv[3])
pathlib.Path("scf.txt").write_text("iteration\\n" * 1000)
pathlib.Path("seen.json").write_text(json.dumps(task))
crystal = task["parent"]["result"]["structure"] if task.get("parent") else task["structure"]
behaviour = script.get(task["task"], {}) if len(set(crystal["species"])) > 1 else {}
if behaviour.get("killed"):
    os.kill(os.getpid(), 9)
time.sleep(behaviour.get("seconds", 0))
if behaviour.get("unconverged_below", 0) > task["changes"].get("smearing", 0.05):
    answer = {"error": {"kind": "scf", "message": "no", "log_tail": ""}}
else:
    if task["task"] == "relax":
        crystal["lattice"] = [[1.1 * x for x in row] for row in crystal["lattice"]]
    if task["task"] == "static":
        pathlib.Path("density.gpw").write_text("density")
    if task["task"] == "gap":
        density = pathlib.Path(task["parent"]["folder"]) / "density.gpw"
        assert density.read_text() == "density"
    answer = {"result": {
        "structure": crystal, "energy_per_atom": -3.0, "cpu_seconds": 1.0,
        "band_gap": script.get("gap_is", 1.0), "is_metal": False, "direct": True,
        "gap_confirmed": True, "spin_polarised": False, "magnetic_moment": 0.0,
        "symmetry": {"space_group": 221},
    }}
    if task["task"] == "static" and not task["options"]["gap"]:
        for name in ("band_gap", "is_metal", "direct", "gap_confirmed"):
            del answer["result"][name]
pathlib.Path(sys.argv[2]).write_text(json.dumps(answer))
"""


class StubBackend(DFTBackend):
    """Runs a line of Python instead of a DFT code; elements are simple cubic, 1 s a calculation."""

    name = "gpaw"  # what the launcher loads; only tests that never launch use this backend

    @property
    def version(self) -> str:
        return "stub"

    def available(self) -> Availability:
        return Availability(True, "stub")

    def unsupported(self, elements: Iterable[str], settings: DFTSettings) -> str | None:
        return "no set for Xe" if "Xe" in set(elements) else None

    def estimate_core_seconds(self, structure: Structure, settings: DFTSettings) -> float:
        symbols = [site.specie.symbol for site in structure]
        return math.inf if self.unsupported(symbols, settings) else float(len(structure))

    def reference(self, element: str) -> Structure:
        if is_molecule(element):
            return diatomic(element, 1.2, 3.0)
        return Structure(Lattice.cubic(3.0), [element], [[0, 0, 0]])

    def command(self, input_file: Path, output_file: Path) -> list[str]:
        return [sys.executable, "-c", "pass"]


@pytest.fixture
def backend() -> StubBackend:
    return StubBackend()


@pytest.fixture
def dft() -> DFTSettings:
    return preset("fast")


Script = dict[str, Any]


@pytest.fixture
def script(backend: StubBackend, monkeypatch: pytest.MonkeyPatch) -> Script:
    """What the code does at each task; a test fills it in."""
    behaviour: Script = {}

    def command(input_file: Path, output_file: Path) -> list[str]:
        files = [str(input_file), str(output_file)]
        return [sys.executable, "-c", RUNNER, *files, json.dumps(behaviour)]

    monkeypatch.setattr(backend, "command", command)
    for module in (firetask, operations):
        monkeypatch.setattr(module, "load_backend", lambda name: backend)
    return behaviour


@pytest.fixture
def queue(database: Session, backend: StubBackend, script: Script) -> Submission:
    """Queues relaxation, energy and gap as calculations of their own, run by the script."""
    settings = VerifySettings(relax=True, separate_gap=True, nice=0)
    return Submission(launchpad(database), backend, preset("fast"), settings, "test")


@pytest.fixture
def run(database: Session, tmp_path: Path, queue: Submission) -> Callable[..., int]:
    """Run what the queue holds, and collect it; a hit has a gap of 0.5 to 2.5 eV."""
    windows = (Window(property="band_gap", min=0.5, max=2.5),)

    def run_queue(**options: Any) -> int:
        home = tmp_path / "home"
        done = launch(database, threading.Event(), home=home, max_idle_seconds=0.0, **options)
        collect("test", windows, queue.pad, queue.settings)
        return done

    return run_queue


AddCandidate = Callable[..., str]


@pytest.fixture
def add_candidate(database: Session) -> AddCandidate:
    """Insert a candidate and walk it through the funnel to a state."""
    count = iter(range(1000))

    def add(
        structure: Structure,
        *,
        campaign: str = "test",
        state: State = State.SELECTED,
        predictions: tuple[dict[str, Any], ...] = (),
    ) -> str:
        proposal = {
            "generator_version": "g",
            "codes_hash": f"codes-{next(count)}",
            "codes": {"species": [[0]]},
            **crystal_fields(structure),
        }
        (name,) = candidates.insert_proposals(campaign, [proposal])
        walk = FUNNEL[: FUNNEL.index(state) + 1]
        for source, to in itertools.pairwise(walk):
            updates: dict[str, Any] = {}
            if to is State.RELAXED:
                updates = {"relaxation": {"structure": structure_to_record(structure)}}
            if to is State.SELECTED:
                updates = {"selection": {"control": False, "position": 0}}
            candidates.transition(
                name,
                source=source,
                to=to,
                token=0,
                agent="test",
                updates=updates,
                predictions=predictions if to is State.SCREENED else (),
            )
        return name

    return add
