"""Extended XYZ files with energies, whose level a person must name, and our own records as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from agents.extxyz import DamagedFrames, read_frames
from agents.verify.backend import DFTBackend, load_backend
from agents.verify.identity import calculation_hash
from agents.verify.imported.calculation import (
    Foreign,
    Found,
    NotImported,
    check_energy,
    digest,
    refusing_damage,
    storable,
)
from agents.verify.tasks import options_of
from db.calculations import OPTIONAL, REQUIRED
from db.crystals import record_to_structure
from model.gzip_files import unpack

LEVEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
LARGEST_RECORDS = 1 << 28
"""Bytes of a file of records when unpacked, 256 MiB; one record has some kilobytes."""
GAP_KEYS = ("band_gap", "bandgap", "gap")


def read_extxyz(path: Path, source: str, level: str | None) -> Iterator[Found | tuple[str, str]]:
    """Read the frames of an extended XYZ file.

    Args:
        path: The file.
        source: What to call it.
        level: Name of their level of theory, which the format cannot say.

    Yields:
        A calculation, or the name of a frame and why it is refused.

    Raises:
        NotImported: The level is not named, or the file is broken.
    """
    if level is None:
        raise NotImported("extended XYZ cannot say its level of theory: name it with --level")
    sha256 = digest(path)
    try:
        frames = read_frames(path)
    except DamagedFrames as error:
        raise NotImported(f"it cannot be read as extended XYZ: {error}") from error
    for number, atoms in enumerate(frames, start=1):
        name = source if len(frames) == 1 else f"{source}#{number}"
        try:
            with refusing_damage("its numbers cannot be used"):
                found = storable(_frame(atoms, name, sha256, level))
        except NotImported as error:
            yield name, str(error)
        else:
            yield found


def read_record(path: Path, source: str) -> Iterator[dict[str, Any] | tuple[str, str]]:
    """Read calculations of our own: records as `discovery dft show --json` prints them.

    Args:
        path: JSON, one record or a list, plain or as .json.gz.
        source: What to call it.

    Yields:
        What `db.calculations.claim` takes, with ``result``; or a name and why it is refused.

    Raises:
        NotImported: It is no JSON.
        Foreign: It is JSON of something else (custodian and FireWorks leave some everywhere).
    """
    digest(path)
    try:
        raw = path.read_bytes()
        document = json.loads(unpack(raw, LARGEST_RECORDS) if path.suffix == ".gz" else raw)
    except (ValueError, OSError, RecursionError) as error:
        raise NotImported(f"it cannot be read as JSON: {error}") from error
    several = isinstance(document, list)
    if not any(_looks_own(one) for one in (document if several else [document])):
        raise Foreign("it holds no record of a calculation")
    for number, record in enumerate(document if several else [document], start=1):
        name = f"{source}#{number}" if several else source
        try:
            yield _own(record)
        except NotImported as error:
            yield name, str(error)


def _frame(atoms: Any, source: str, sha256: str, level: str) -> Found:
    from agents.relax.calculator import structure_from_atoms

    if not atoms.pbc.all():
        raise NotImported("its cell is not periodic in all directions")
    if atoms.info.get("converged") is False:
        raise NotImported("it says itself that it is not converged")
    results = {} if atoms.calc is None else atoms.calc.results
    energy = results.get("energy", atoms.info.get("energy"))
    if energy is None:
        raise NotImported("it has no energy")
    structure = structure_from_atoms(atoms)
    forces = results.get("forces")
    gap = next((atoms.info[key] for key in GAP_KEYS if key in atoms.info), None)
    result: dict[str, Any] = {
        "energy": float(energy),
        "energy_per_atom": float(energy) / len(structure),
        "n_atoms": len(structure),
        "formula": structure.composition.reduced_formula,
        "k_points": None,
        "converged": True,
        "max_force": None if forces is None else float(np.linalg.norm(forces, axis=1).max()),
    }
    if gap is not None:
        result |= {"band_gap": float(gap), "is_metal": float(gap) <= 0, "gap_confirmed": False}
    check_energy(result)
    return Found(
        source=source,
        sha256=sha256,
        code="extxyz",
        version="",
        theory={"xc": level},
        data_sets={},
        structure=structure,
        result=result,
        name=level,
    )


def _looks_own(record: Any) -> bool:
    return isinstance(record, Mapping) and {"code", "version", "settings"} <= set(record)


def _own(record: Any) -> dict[str, Any]:
    """Check a record of ours: its hash must be that of what it says."""
    if not _looks_own(record):
        raise NotImported("it is no record of a calculation")
    missing = sorted(REQUIRED - {"hash"} - set(record))
    if missing or not ({"hash", "_id"} & set(record)):
        raise NotImported("it is no record of a calculation, as `discovery dft show --json` gives")
    result = record.get("result")
    if record.get("state", "completed") != "completed" or not isinstance(result, Mapping):
        raise NotImported("its calculation has no result")
    found = {name: record[name] for name in REQUIRED | OPTIONAL if name in record}
    found["hash"] = record.get("hash", record.get("_id"))
    found |= {"candidates": [], "control": False, "result": dict(result)}
    task = found.setdefault("task", "static")
    found["options"] = options_of(task, found.get("options"))
    info = found.get("info", {})
    try:
        settings = load_backend(found["code"]).read_settings(found["settings"])
        named = SimpleNamespace(name=found["code"], version=found["version"])
        expected = calculation_hash(
            cast("DFTBackend[Any]", named),
            record_to_structure(found["structure"]),
            settings,
            task=task,
            parent=found.get("parent"),
            options=found["options"],
            molecule=bool(info.get("molecule", False)),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise NotImported(f"it cannot be understood: {type(error).__name__}: {error}") from error
    if expected != found["hash"]:
        raise NotImported("its hash is not that of its contents: it was changed, or is incomplete")
    check_energy({"energy": float(result.get("energy", 0.0))})
    return found
