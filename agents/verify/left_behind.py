"""Answers that a launcher had on its disk, and did not live to report: they are not paid for twice.

Between the end of a process and the report of its launch lies a moment, in which outputs are
compressed and the database is written to. A launcher that dies in it leaves a complete answer, for
which an hour or a day was paid, in its launch directory. The next launch of the same Firework looks
there first, where it can see that directory, and takes over every attempt that was asked the same.
"""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from db.plain import plain

if TYPE_CHECKING:
    from fireworks import LaunchPad

log = logging.getLogger(__name__)

INPUT, OUTPUT = "input.json", "output.json"
UNREADABLE = (OSError, EOFError, ValueError, RecursionError)
LARGEST = 64 * 2**20
"""Bytes of a document that is read."""


def directories(pad: LaunchPad, fw_id: int, own: Path) -> list[Path]:
    """Return where earlier launches of a Firework ran that reported nothing, the newest first.

    Args:
        pad: The queue.
        fw_id: The Firework.
        own: The directory of the launch that asks.
    """
    fields = {"launch_dir": 1, "action.stored_data.attempts": 1}
    found = pad.launches.find({"fw_id": fw_id}, fields).sort("launch_id", -1)
    silent = [
        Path(one["launch_dir"])
        for one in found
        if "attempts" not in ((one.get("action") or {}).get("stored_data") or {})
    ]
    return [folder for folder in dict.fromkeys(silent) if folder != own and folder.is_dir()]


def finished_attempt(
    folders: list[Path], name: str, document: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Find an attempt that ended, and was asked the same.

    Args:
        folders: From `directories`.
        name: Of the attempt's folder.
        document: What the runner was to read.

    Returns:
        Its answer; and ``folder``, ``wall_seconds`` (from its files' times), ``cpu_seconds``
        (what the result says, else the wall time) and ``left_behind``. None where there is none.
    """
    asked = json.loads(json.dumps(document))
    for folder in folders:
        place = folder / name
        answer = _read(place / OUTPUT)
        told = answer is not None and any(
            isinstance(answer.get(name), dict) for name in ("result", "error")
        )
        if answer is None or not told or _read(place / INPUT) != asked:
            continue
        wall = max(
            0.0, _file(place / OUTPUT).stat().st_mtime - _file(place / INPUT).stat().st_mtime
        )
        cpu = (answer.get("result") or {}).get("cpu_seconds", wall)
        log.warning("%s of a launch that vanished had its answer: it is taken over", place)
        _tidy(place)
        spent = {"wall_seconds": wall, "cpu_seconds": float(cpu)}
        return answer, {"folder": str(place), **spent, "left_behind": True}
    return None


def _file(path: Path) -> Path:
    """Return the file, or its compressed form where that is all there is."""
    return path if path.exists() else path.with_name(path.name + ".gz")


def _read(path: Path) -> dict[str, Any] | None:
    """Read a document that is there as a whole; processes write their answers atomically."""
    found = _file(path)
    try:
        with gzip.open(found) if found.suffix == ".gz" else found.open("rb") as stream:
            content = stream.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ValueError(f"it has more than {LARGEST >> 20} MiB")
        document = plain(json.loads(content), path.name)
    except FileNotFoundError:
        return None
    except UNREADABLE as error:
        log.warning("%s cannot be read: %s", found, error)
        return None
    return document if isinstance(document, dict) else None


def _tidy(place: Path) -> None:
    """Remove what was compressed in part only; it is compressed again."""
    for path in place.rglob("*.gz"):
        if path.with_suffix("").exists():
            path.unlink()
