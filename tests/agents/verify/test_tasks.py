"""Tasks of calculations: what the runner reads, and what makes two calculations the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from agents.verify.backend import DFTBackend
from agents.verify.identity import calculation_spec, find_equal
from agents.verify.setup.presets import DFTSettings
from agents.verify.tasks import Parent, Task, TaskInput
from db import calculations
from db.connection import Session
from db.crystals import structure_to_record
from db.documents import Calculation

CSCL = Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def shifted() -> Structure:
    """The same crystal in another cell, at another origin, with noise."""
    other = CSCL.copy()
    other.translate_sites([0, 1], [0.13, 0.2, 0.31])
    other.make_supercell([[1, 1, 0], [0, 1, 0], [0, 0, 2]])
    other.perturb(1e-4)
    return other


def test_runner_reads_older_files_and_fills_in_the_defaults(dft: DFTSettings) -> None:
    old = {"structure": structure_to_record(CSCL), "settings": dft.record(), "molecule": False}
    found = TaskInput.read(old)
    assert (found.task, found.options, found.parent) == (Task.STATIC, {"gap": True}, None)
    assert found.settings == dft
    assert found.structure == CSCL


def test_runner_computes_the_crystal_of_the_parent_with_the_changes_of_the_attempt(
    dft: DFTSettings, tmp_path: Path
) -> None:
    relaxed = CSCL.copy()
    relaxed.scale_lattice(70.0)
    parent = Parent({"structure": structure_to_record(relaxed)}, tmp_path)
    mixer = {"name": "pulay", "beta": 0.02}
    document = {
        "task": "gap",
        "structure": structure_to_record(CSCL),
        "settings": dft.record(),
        "parent": parent.record(),
        "changes": {"smearing": 0.1, "mixer": mixer},
    }
    found = TaskInput.read(json.loads(json.dumps(document)))
    assert found.structure == relaxed
    assert found.parent == parent
    assert found.settings == dft.model_copy(update={"smearing": 0.1})
    assert found.changes["mixer"] == mixer
    with pytest.raises(ValueError, match="frequencies"):
        TaskInput.read({**document, "task": "frequencies"})


def test_identity_of_a_single_point_with_its_gap_is_what_it_was_before_tasks(
    backend: DFTBackend, dft: DFTSettings
) -> None:
    identity = {
        "code": "gpaw",
        "version": "stub",
        "settings": dft.record(),
        "cell": {
            "lattice": [4.1, 4.1, 4.1, 90.0, 90.0, 90.0],
            "sites": [["Cl", 0.5, 0.5, 0.5], ["Cs", 0.0, 0.0, 0.0]],
        },
        "molecule": False,
    }
    digits = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    spec = calculation_spec(backend, CSCL, dft, kind="compound")
    assert spec["hash"] == digits
    assert (spec["task"], spec["options"], spec["parent"]) == ("static", {"gap": True}, None)


def test_task_options_and_parent_are_part_of_the_identity(
    backend: DFTBackend, dft: DFTSettings
) -> None:
    chosen: list[dict[str, Any]] = [
        {},
        {"options": {"gap": False}},
        {"task": "relax"},
        {"task": "gap", "parent": "a"},
        {"task": "gap", "parent": "b"},
        {"task": "bands", "parent": "a"},
        {"task": "static", "parent": "a"},
    ]
    hashes = [
        calculation_spec(backend, CSCL, dft, kind="compound", **one)["hash"] for one in chosen
    ]
    assert len(set(hashes)) == len(chosen)
    first, second = (
        calculation_spec(backend, one, dft, kind="compound", task="gap", parent="a")["hash"]
        for one in (CSCL, shifted())
    )
    assert first == second


def test_cost_of_a_task_is_a_part_of_the_whole(backend: DFTBackend, dft: DFTSettings) -> None:
    def cost(**options: Any) -> float:
        spec = calculation_spec(backend, CSCL, dft, kind="compound", **options)
        return float(spec["estimated_core_seconds"])

    without, gap = cost(options={"gap": False}), cost(task="gap", parent="a")
    assert without < cost() < without + gap < cost(task="relax")


def test_equal_crystals_are_found_within_one_task_only(
    database: Session, backend: DFTBackend, dft: DFTSettings
) -> None:
    def spec(structure: Structure, **options: Any) -> dict[str, Any]:
        return calculation_spec(backend, structure, dft, kind="compound", **options)

    static, relax = spec(CSCL), spec(CSCL, task="relax")
    calculations.claim(static)
    assert find_equal(spec(shifted())) == static["hash"]
    assert find_equal(spec(shifted(), options={"gap": False})) == static["hash"]
    assert find_equal(spec(shifted(), task="relax")) is None
    calculations.claim(relax)
    assert find_equal(spec(shifted(), task="relax")) == relax["hash"]
    assert find_equal(spec(shifted(), parent=relax["hash"])) is None


def test_records_older_than_tasks_are_found_and_read(
    database: Session, backend: DFTBackend, dft: DFTSettings
) -> None:
    old = calculation_spec(backend, CSCL, dft, kind="compound")
    for name in ("task", "parent", "options"):
        del old[name]
    calculations.claim(old)
    (stored,) = database.database["calculations"].find({})
    assert "task" not in stored
    (found,) = Calculation.objects
    assert (found.task, found.parent, found.options) == ("static", None, {"gap": True})
    assert find_equal(calculation_spec(backend, shifted(), dft, kind="compound")) == old["hash"]


@pytest.mark.parametrize("symbols", [["Si", "Si"], ["B", "N"]])
def test_layers_that_buckle_differently_are_not_shared(
    symbols: list[str], database: Session, backend: DFTBackend, dft: DFTSettings
) -> None:
    def spec(buckling: float, edge: float = 3.87, space: float = 12.0) -> dict[str, Any]:
        heights = 0.5 + np.array([0.5, -0.5]) * buckling / 20.0
        sites = [[1 / 3, 2 / 3, heights[0]], [2 / 3, 1 / 3, heights[1]]]
        layer = Structure(Lattice.hexagonal(edge, 20.0), symbols, sites)
        options = {"vacuum": space}
        return calculation_spec(backend, layer, dft, kind="compound", options=options)

    calculations.claim(spec(0.0))
    assert find_equal(spec(0.1)) is None
    assert find_equal(spec(0.0, edge=3.88)) == spec(0.0)["hash"] != spec(0.0, edge=3.88)["hash"]
    calculations.claim(spec(0.5))
    assert find_equal(spec(0.51)) == spec(0.5)["hash"]
    assert find_equal(spec(0.6)) is None
    assert find_equal(spec(0.5, space=13.0)) is None
