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
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.verify.queue.answers import LARGEST_ANSWER, parse_answer
from db.plain import plain

if TYPE_CHECKING:
    from fireworks import LaunchPad

log = logging.getLogger(__name__)

INPUT, OUTPUT = "input.json", "output.json"
UNREADABLE = (OSError, EOFError, ValueError, RecursionError, zlib.error)


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
    return [folder for folder in dict.fromkeys(silent) if folder != own and _is_there(folder)]


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
        answer = _read(place / OUTPUT, parse_answer)
        if answer is None or _read(place / INPUT, _plain_json) != asked:
            continue
        try:
            began, ended = (_file(place / one).stat().st_mtime for one in (INPUT, OUTPUT))
            _tidy(place)
        except OSError as error:
            log.warning("%s cannot be taken over: %s", place, error)
            continue
        wall = max(0.0, ended - began)
        cpu = answer.get("result", {}).get("cpu_seconds")
        log.warning("%s of a launch that vanished had its answer: it is taken over", place)
        spent = {"wall_seconds": wall, "cpu_seconds": _seconds(cpu, wall)}
        return answer, {"folder": str(place), **spent, "left_behind": True}
    return None


def _is_there(folder: Path) -> bool:
    """Say whether a folder can be looked into; launch folders are their owner's alone."""
    try:
        return folder.is_dir()
    except OSError:
        return False


def _seconds(value: object, otherwise: float) -> float:
    """Return a time that a runner told; another one where it told none."""
    if isinstance(value, int | float) and math.isfinite(value) and value >= 0:
        return float(value)
    return otherwise


def _plain_json(content: bytes, name: str) -> Any:
    """Read a document of plain JSON values.

    Raises:
        ValueError: It is none, or too large.
    """
    if len(content) > LARGEST_ANSWER:
        raise ValueError(f"it has more than {LARGEST_ANSWER >> 20} MiB")
    return plain(json.loads(content), name)


def _file(path: Path) -> Path:
    """Return the file, or its compressed form where that is all there is."""
    return path if path.exists() else path.with_name(path.name + ".gz")


def _read(path: Path, parse: Callable[[bytes, str], Any]) -> Any:
    """Read a document that is there as a whole; processes write their answers atomically."""
    try:
        found = _file(path)
        with gzip.open(found) if found.suffix == ".gz" else found.open("rb") as stream:
            return parse(stream.read(LARGEST_ANSWER + 1), path.name)
    except FileNotFoundError:
        return None
    except UNREADABLE as error:
        log.warning("%s cannot be read: %s", path, error)
        return None


def _tidy(place: Path) -> None:
    """Remove what was compressed in part only; it is compressed again."""
    for path in place.rglob("*.gz"):
        if path.with_suffix("").exists():
            path.unlink()
