"""Failed calculations that another attempt may finish: what failed was the circumstances."""

from __future__ import annotations

from typing import Any

from db import calculations
from db.documents import Calculation
from db.states import CalculationState

CIRCUMSTANCES = frozenset({"timeout", "killed", "lost", "defused", "unavailable"})
"""Kinds of failure that say nothing about the crystal (``unavailable``: the code or its data)."""

BY_PARENT = "parent"
"""Kind of failure of a calculation whose parent failed; it was not run."""

MAX_ATTEMPTS = 3
"""Attempts of one calculation that are allowed no more time than the ones before."""


def job(calculation: Calculation) -> str:
    """Name the present attempt of a calculation, as its Firework is found by.

    Returns:
        The hash of the calculation, and from the second attempt on ``hash:attempt``.
    """
    number = len(calculation.info.get("failures", [])) + 1
    return str(calculation.hash) if number == 1 else f"{calculation.hash}:{number}"


def may_retry(calculation: Calculation, timeout_seconds: float) -> bool:
    """Say whether a failed calculation is worth another attempt.

    Args:
        calculation: Any calculation.
        timeout_seconds: Wall-clock limit of the new attempt, s.

    Returns:
        True where circumstances made it fail, a timeout where there is more time now, and where
        fewer than `MAX_ATTEMPTS` attempts had as much time.
    """
    if calculation.state != CalculationState.FAILED:
        return False
    failures = _failures(calculation)
    last = failures[-1]
    if last["kind"] == BY_PARENT:
        return calculations.load(calculation.parent).state != CalculationState.FAILED
    if last["kind"] not in CIRCUMSTANCES:
        return False
    if last["kind"] == "timeout" and not timeout_seconds > last["timeout_seconds"]:
        return False
    run = [one for one in failures if one["kind"] != BY_PARENT]
    return sum(one["timeout_seconds"] >= timeout_seconds for one in run) < MAX_ATTEMPTS


def retry(
    calculation: Calculation,
    timeout_seconds: float,
    *,
    changes: dict[str, Any] | None = None,
    campaign: str | None = None,
    by: str = "verify",
    note: str = "tried again for another candidate",
) -> bool:
    """Take a failed calculation back to ``submitting``, for a fresh Firework.

    Args:
        calculation: A failed one.
        timeout_seconds: Wall-clock limit of each new attempt, s.
        changes: What a person changes against the plain settings, in place of the ladder.
        campaign: Whose budget pays for it.
        by: Who wants it.
        note: Why, for the history.

    Returns:
        Whether this call did it; False when somebody was faster.
    """
    gone = ("failure", "changes")
    info = {name: value for name, value in calculation.info.items() if name not in gone}
    info |= {"failures": _failures(calculation), "timeout_seconds": timeout_seconds}
    if campaign is not None:
        info["campaign"] = campaign
    if changes:
        info["changes"] = changes
    source, to = CalculationState.FAILED, CalculationState.SUBMITTING
    return calculations.advance(
        calculation.hash, source, to, by=by, note=note, fw_id=None, error=None, info=info
    )


def _failures(calculation: Calculation) -> list[dict[str, Any]]:
    """Return all failed attempts of a failed calculation, the present one last."""
    info = calculation.info
    failure = info.get("failure") or {}
    present = {
        "kind": failure.get("kind", ""),
        "message": failure.get("message", calculation.error or ""),
        "timeout_seconds": float(info.get("timeout_seconds", 0.0)),
    }
    return [*info.get("failures", []), present]
