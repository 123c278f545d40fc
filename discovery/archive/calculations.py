"""First-principles calculations in an archive: inputs, results, and the outputs that were kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from agents.verify.queue.outputs import RESTART_FILES
from discovery.archive.writing import ArchiveWriter

Record = dict[str, Any]

FOLDER = "calculations"
LICENSED = ("POTCAR",)
"""Files of these names belong to VASP's licence and never leave the machine."""


def add_calculation(archive: ArchiveWriter, calculation: Mapping[str, Any]) -> list[str]:
    """Add a calculation: ``record.json``, ``input.json``, crystals and kept outputs.

    Args:
        archive: Where it goes.
        calculation: Its record, with ``hash``.

    Returns:
        What could not be added, in sentences.
    """
    from discovery.archive.crystals import add_crystal

    place = f"{FOLDER}/{calculation['hash']}"
    kept, left_out = add_outputs(archive, calculation, f"{place}/outputs")
    record = dict(calculation)
    if calculation.get("outputs"):
        attempt = calculation["outputs"].get("attempt")
        found = {"folder": "outputs", "attempt": attempt, "files": kept, "left_out": left_out}
        record["outputs"] = found
    attempts = calculation.get("attempts") or []
    record["attempts"] = [
        {**one, "folder": Path(one["folder"]).name} if "folder" in one else one for one in attempts
    ]
    archive.add_json(f"{place}/record.json", record)
    archive.add_json(f"{place}/input.json", runner_input(calculation))
    add_crystal(archive, f"{place}/crystals/start", calculation["structure"])
    if result := (calculation.get("result") or {}).get("structure"):
        add_crystal(archive, f"{place}/crystals/result", result)
    name = f"{calculation['formula']} {calculation['task']} {calculation['hash'][:12]}"
    return [f"{name}: {one['path']} is left out, {one['reason']}" for one in left_out]


def runner_input(calculation: Mapping[str, Any]) -> Record:
    """Return what the runner of the code reads (`agents.verify.tasks`), as it was run last."""
    info = calculation.get("info") or {}
    return {
        "task": calculation["task"],
        "options": calculation["options"],
        "structure": calculation["structure"],
        "settings": calculation["settings"],
        "molecule": bool(info.get("molecule", False)),
        "changes": (calculation.get("result") or {}).get("changes", {}),
    }


def add_outputs(
    archive: ArchiveWriter, calculation: Mapping[str, Any], place: str, *, restart: bool = False
) -> tuple[list[Record], list[Record]]:
    """Add the files that a calculation left behind, each checked against its record.

    Args:
        archive: Where they go.
        calculation: The record.
        place: Folder in the archive.
        restart: Whether files that only following calculations need go in too.

    Returns:
        The files that are in (``path``, ``size``, ``sha256``), and those that are not (``path``,
        ``size``, ``reason``).
    """
    outputs = calculation.get("outputs") or {}
    folder = Path(outputs.get("folder") or "")
    left_out = [{**one, "reason": "too large to be kept"} for one in outputs.get("left_out", [])]
    kept = []
    for one in outputs.get("files", []):
        reason = _refusal(folder, one, restart)
        if reason is None:
            archive.add_file(f"{place}/{one['path']}", folder / one["path"])
            kept.append(one)
        else:
            left_out.append({"path": one["path"], "size": one["size"], "reason": reason})
    return kept, left_out


def _refusal(folder: Path, entry: Mapping[str, Any], restart: bool) -> str | None:
    """Say why a file cannot go in."""
    name = PurePosixPath(entry["path"]).name
    if name.removesuffix(".gz") in LICENSED:
        return "VASP's licence keeps it here"
    if name in RESTART_FILES and not restart:
        return "it serves following calculations only"
    path = folder / entry["path"]
    if not path.is_file() or path.is_symlink():
        return "it is not on this machine"
    with path.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != entry["sha256"]:
            return "it was changed since the calculation"
    return None
