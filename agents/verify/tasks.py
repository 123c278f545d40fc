"""The tasks that one calculation can have, and the JSON that a runner reads and writes.

A calculation is one record, one Firework and one process at a time. A candidate's workflow is
``relax`` (optional) → ``static`` → ``gap``; ``bands``, ``spin_orbit`` and ``hybrid`` follow up a
hit. A task that starts from another calculation names that one as its ``parent``: it computes the
parent's crystal and may use the files that the parent left.

A runner reads ``{"task", "structure", "settings", "molecule", "parent", "options", "changes"}`` and
writes ``{"result": {...}}`` or ``{"error": {"kind", "message", "log_tail"}}``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agents.verify.setup.presets import DFTSettings

if TYPE_CHECKING:
    from pymatgen.core import Structure

Kind = Literal["compound", "reference", "phase"]
"""Whose energy a calculation gives: a candidate's, an element's, a competing phase's."""


class Task(StrEnum):
    """What a calculation computes."""

    RELAX = "relax"
    STATIC = "static"
    GAP = "gap"
    BANDS = "bands"
    SPIN_ORBIT = "spin_orbit"
    HYBRID = "hybrid"


FOLLOW_UP = frozenset({Task.BANDS, Task.SPIN_ORBIT, Task.HYBRID})
"""Tasks for hits; no candidate needs them to be verified."""

DEFAULTS: dict[Task, dict[str, Any]] = {
    Task.STATIC: {"gap": True},
    Task.BANDS: {"density": 10.0},  # points per Å^-1 of path
    Task.HYBRID: {"k_density": None},  # points per Å^-1 of the mesh; None: the level's own
}
"""Options of a task where a calculation does not say; records without a task mean the same.

``vacuum`` (Å), which has no default, says of any task that the crystal is a slab, computed with so
much vacuum along c; without it the crystal is bulk. With it goes ``mesh``, the name of the rule
that chooses the k-points of slabs."""

SLAB_MESH = "K"
"""The rule: the mesh of a hexagonal layer holds K (`agents.verify.setup.symmetry.mesh`).

Part of the identity of every slab, so that none is taken for one computed by the rule before, which
did not hold it and had no name."""

RELATIVE_COST: dict[Task, float] = {
    Task.RELAX: 8.0,  # steps, each from the density of the one before
    Task.STATIC: 1.0,
    Task.GAP: 0.6,
    Task.BANDS: 0.6,
    Task.SPIN_ORBIT: 0.6,
    Task.HYBRID: 50.0,
}
"""Cost of a task beside that of ``static`` with its gap, where a code knows nothing better."""

GAP_SHARE = 0.4
"""Part of the cost of ``static`` that ``{"gap": False}`` saves."""


def options_of(task: Task, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Fill in what a calculation's options leave open."""
    complete = {**DEFAULTS.get(task, {}), **(options or {})}
    if complete.get("vacuum") is not None:
        complete["mesh"] = SLAB_MESH
    return complete


def relative_cost(task: Task, options: Mapping[str, Any]) -> float:
    """Return the cost of a task in units of ``static`` with its gap."""
    saved = GAP_SHARE if task is Task.STATIC and not options["gap"] else 0.0
    return RELATIVE_COST[task] - saved


@dataclass(frozen=True)
class Parent:
    """The calculation that another one starts from.

    Attributes:
        result: What it found.
        folder: Where its files are kept; None where they are gone, so that whatever the child
            needs of them is computed again.
    """

    result: dict[str, Any]
    folder: Path | None

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "result": self.result,
            "folder": None if self.folder is None else str(self.folder),
        }


@dataclass(frozen=True)
class TaskInput:
    """What a runner is given.

    Attributes:
        task: What to compute.
        structure: The crystal, or a molecule in its box; the parent's last one where there is a
            parent.
        settings: The level of theory, with the fields that a retry changed.
        molecule: No symmetry, Γ only, no gap.
        parent: The calculation it starts from.
        options: Options of the task, part of the calculation's identity.
        changes: What this attempt changes against the plain settings
            (`agents.verify.queue.attempts`): fields of `DFTSettings`, which ``settings`` has
            already, and options of the code's own such as ``mixer``. Not part of the identity.
    """

    task: Task
    structure: Structure
    settings: DFTSettings
    molecule: bool = False
    parent: Parent | None = None
    options: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> TaskInput:
        """Read the input file's JSON; what is missing has the meaning of older files.

        Raises:
            ValueError: The task is unknown, or a setting is.
        """
        from db.crystals import record_to_structure

        task = Task(document.get("task", Task.STATIC))
        changes = dict(document.get("changes") or {})
        parent = document.get("parent")
        structure = document["structure"]
        if parent is not None:
            structure = parent["result"].get("structure", structure)
            folder = parent["folder"]
            parent = Parent(parent["result"], None if folder is None else Path(folder))
        return cls(
            task=task,
            structure=record_to_structure(structure),
            settings=DFTSettings.model_validate({**document["settings"], **own_fields(changes)}),
            molecule=bool(document.get("molecule", False)),
            parent=parent,
            options=options_of(task, document.get("options")),
            changes=changes,
        )


def own_fields(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return those changes of an attempt that are fields of `DFTSettings`."""
    return {name: value for name, value in changes.items() if name in DFTSettings.model_fields}


def write_atomically(path: Path, document: dict[str, Any]) -> None:
    """Write a runner's answer so that a reader sees all of it or nothing, also after a power cut.

    Args:
        path: The output file.
        document: Plain JSON values; NaN and infinity are refused.
    """
    partial = path.with_suffix(".partial")
    with partial.open("w") as stream:
        json.dump(document, stream, allow_nan=False)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)
