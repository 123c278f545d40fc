"""The inputs of a verification, written for a person to look at; nothing is run or recorded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.verify import workflow
from agents.verify.backend import DFTBackend, LevelSettings
from agents.verify.files import elements_of
from agents.verify.properties.references import is_molecule
from agents.verify.settings import VerifySettings
from agents.verify.submission import OWN_FAILURES, describe
from agents.verify.tasks import Task, options_of
from db.crystals import structure_to_record

if TYPE_CHECKING:
    from pymatgen.core import Structure

REFERENCES = "references"


def dry_run(
    structures: Mapping[str, Structure],
    backend: DFTBackend[Any],
    dft: LevelSettings,
    settings: VerifySettings,
    out: Path,
) -> dict[str, dict[str, Any]]:
    """Write the input files of every calculation, the elemental references' too.

    Args:
        structures: Identifier to crystal.
        backend: The DFT code; it need not be able to run.
        dft: The level of theory.
        settings: The workflow.
        out: Folder; each calculation gets one of its own in it.

    Returns:
        For each crystal ``status`` ("dry_run" or "failed"), ``reason``, ``folder``, ``inputs`` (the
        files, relative to ``out``), and ``estimated_core_hours`` of its own calculations, None
        where the code cannot tell here; under `REFERENCES` the same for the elements.
    """
    records: dict[str, dict[str, Any]] = {}
    elements: set[str] = set()
    for number, (name, structure) in enumerate(structures.items(), start=1):
        folder = out / f"{number:05d}-{structure.composition.reduced_formula}"
        try:
            for step in workflow.steps(settings):
                document = _document(structure, dft, step.task, step.options)
                backend.write_inputs(document, folder / str(step.task))
            seconds = workflow.estimate(backend, structure, dft, settings)
        except OWN_FAILURES as error:
            records[name] = {"status": "failed", "reason": describe(error)}
            continue
        elements |= set(elements_of(structure))
        reason = backend.unsupported(elements_of(structure), dft)
        records[name] = {"status": "dry_run", "reason": reason, **_written(folder, out, seconds)}
    references: dict[str, Any] = {}
    for element in sorted(elements):
        folder = out / REFERENCES / element
        try:
            phase = backend.reference(element)
            options = workflow.reference_options(element)
            document = _document(phase, dft, Task.STATIC, options, molecule=is_molecule(element))
            backend.write_inputs(document, folder)
            seconds = backend.estimate_task(phase, dft, Task.STATIC, document["options"])
        except OWN_FAILURES as error:
            references[element] = {"status": "failed", "reason": describe(error)}
            continue
        references[element] = {"status": "dry_run", **_written(folder, out, seconds)}
    records[REFERENCES] = references
    return records


def _document(
    structure: Structure,
    dft: LevelSettings,
    task: Task,
    options: Mapping[str, Any],
    *,
    molecule: bool = False,
) -> dict[str, Any]:
    return {
        "task": str(task),
        "options": options_of(task, options),
        "structure": structure_to_record(structure),
        "settings": dft.record(),
        "molecule": molecule,
    }


def _written(folder: Path, out: Path, seconds: float) -> dict[str, Any]:
    files = sorted(str(path.relative_to(out)) for path in folder.rglob("*") if path.is_file())
    return {
        "folder": str(folder.relative_to(out)),
        "inputs": files,
        "estimated_core_hours": None if math.isinf(seconds) else seconds / 3600,
    }
