"""What became of Fireworks: the answer of the last launch, and what every launch cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.verify.queue.recovery import failure_of, is_unfinished, last_report, was_interrupted
from agents.verify.settings import VerifySettings
from db.states import CalculationState

if TYPE_CHECKING:
    from fireworks import LaunchPad

_DEFAULTS = VerifySettings()
ENDS = {"interrupted": "was asked to stop", "lost": "vanished"}
"""What happened to a launcher that left no answer."""


def answer(
    pad: LaunchPad, fw_id: int, *, max_launches: int = _DEFAULTS.max_launches
) -> dict[str, Any] | None:
    """Read what became of a Firework.

    Args:
        pad: The queue.
        fw_id: The Firework.
        max_launches: Launches after which a lost calculation is given up, where its Firework's
            spec does not say.

    Returns:
        ``{"result": {...}}`` or ``{"error": {"kind", "message", ...}}``, and ``outputs`` where
        there are any; None while there is no answer.
    """
    found = pad.fireworks.find_one({"fw_id": fw_id}, {"state": 1})
    if found is None:
        return _error("lost", f"Firework {fw_id} is not in the queue any more")
    state = found["state"]
    if state in ("DEFUSED", "ARCHIVED"):
        return _error("defused", f"Firework {fw_id} was taken out of the queue ({state})")
    if state not in ("COMPLETED", "FIZZLED"):
        return None
    launches = _launches(pad, fw_id)
    if state == "COMPLETED":
        stored = _stored(launches[-1]) if launches else {}
        return {name: stored[name] for name in ("result", "error", "outputs") if name in stored}
    if is_unfinished(pad, fw_id, max_launches=max_launches):
        return None
    failure = failure_of(launches[-1]) if launches else None
    if failure is None:
        return _error("lost", f"its launcher vanished {len(launches)} times")
    lines = failure["_stacktrace"].strip().splitlines()
    return _error("task", lines[-1], log_tail="\n".join(lines[-20:]))


def attempts_of(pad: LaunchPad, fw_id: int) -> list[dict[str, Any]]:
    """Return every process that was run for a Firework, the oldest first.

    A launch that was lost or interrupted says nothing itself; it took as long as it reported. Where
    a later one took its answer over (`agents.verify.queue.left_behind`), that one counts it.

    Returns:
        Plain JSON values: ``changes``, ``error``, ``wall_seconds``, ``core_seconds``, and what
        else `agents.verify.firetask.climb` stores.
    """
    attempts: list[dict[str, Any]] = []
    found = pad.fireworks.find_one({"fw_id": fw_id}, {"spec.cores": 1}) or {}
    cores = int(found.get("spec", {}).get("cores", 1))
    launches = _launches(pad, fw_id)
    told = [one for launch in launches for one in _stored(launch).get("attempts", [])]
    taken_over = {str(Path(one["folder"]).parent) for one in told if one.get("left_behind")}
    for launch in launches:
        stored = _stored(launch)
        if launch.get("launch_dir") in taken_over:
            continue
        if "attempts" in stored:
            attempts += stored["attempts"]
        elif "result" not in stored and "error" not in stored:
            attempts.append(_vanished(launch, cores))
    return [{**one, "fw_id": fw_id} for one in attempts]


def parent_of(pad: LaunchPad, hash: str) -> dict[str, Any]:
    """Find the result that another calculation starts from, collected or not.

    Args:
        pad: The queue, in the same database as the calculations.
        hash: Hash of the calculation.

    Returns:
        ``{"result", "folder"}``, as the runner reads it (`agents.verify.tasks.Parent`); or
        ``{"error": {"kind": "parent", ...}}`` where there is no result.
    """
    record = pad.db["calculations"].find_one({"_id": hash}) or {}
    if record.get("state") == CalculationState.COMPLETED:
        return _handed_on(record["result"], record.get("outputs"))
    firework = pad.fireworks.find_one(
        {"spec.hash": hash, "state": "COMPLETED"}, sort=[("fw_id", -1)]
    )
    launches = _launches(pad, firework["fw_id"]) if firework else []
    stored = _stored(launches[-1]) if launches else {}
    if "result" in stored:
        return _handed_on(stored["result"], stored.get("outputs"))
    failure = stored.get("error") or {"kind": "lost", "message": "it has no result"}
    name = record.get("task", "calculation")
    return _error(
        "parent", f"the {name} it starts from failed: {failure['kind']}: {failure['message']}"
    )


def _handed_on(result: dict[str, Any], outputs: dict[str, Any] | None) -> dict[str, Any]:
    folder = (outputs or {}).get("folder")
    attempt = (outputs or {}).get("attempt")
    return {"result": result, "folder": f"{folder}/{attempt}" if folder and attempt else folder}


def _launches(pad: LaunchPad, fw_id: int) -> list[dict[str, Any]]:
    return list(pad.launches.find({"fw_id": fw_id}).sort("launch_id", 1))


def _stored(launch: dict[str, Any]) -> dict[str, Any]:
    stored: dict[str, Any] = (launch.get("action") or {}).get("stored_data") or {}
    return stored


def _vanished(launch: dict[str, Any], cores: int) -> dict[str, Any]:
    kind = "interrupted" if was_interrupted(launch) else "lost"
    seconds = last_report(launch)
    return {
        "changes": {},
        "error": {"kind": kind, "message": f"its launcher {ENDS[kind]}"},
        "wall_seconds": seconds,
        "core_seconds": seconds * cores,
    }


def _error(kind: str, message: str, log_tail: str = "") -> dict[str, Any]:
    return {"error": {"kind": kind, "message": message, "log_tail": log_tail}}
