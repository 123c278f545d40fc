"""One task of the GPAW runner, in a process and a folder of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from pymatgen.core import Structure

from agents.verify.gpaw.backend import GPAWBackend
from agents.verify.setup.presets import DFTSettings
from db.crystals import structure_to_record


def answer(
    folder: Path, structure: Structure, settings: DFTSettings, **task: Any
) -> dict[str, Any]:
    """Run a task and return its answer, ``result`` or ``error``."""
    folder.mkdir()
    source, target = folder / "input.json", folder / "output.json"
    document = {
        "structure": structure_to_record(structure),
        "settings": settings.record(),
        "molecule": False,
        "parent": None,
        **task,
    }
    source.write_text(json.dumps(document))
    command = GPAWBackend().command(source, target)
    subprocess.run(command, cwd=folder, check=True, timeout=600)
    found: dict[str, Any] = json.loads(target.read_text())
    return found


def result(
    folder: Path, structure: Structure, settings: DFTSettings, **task: Any
) -> dict[str, Any]:
    """Run a task that succeeds, and return its result."""
    found = answer(folder, structure, settings, **task)
    assert "result" in found, found
    value: dict[str, Any] = found["result"]
    return value
