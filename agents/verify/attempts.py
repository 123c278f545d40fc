"""Failed calculations that another attempt may finish: what failed was the circumstances."""

from __future__ import annotations

from typing import Any

from db import calculations
from db.documents import Calculation
from db.states import CalculationState

CIRCUMSTANCES = frozenset({"timeout", "killed", "lost", "defused"})
"""Kinds of failure that say nothing about the crystal."""

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
    if last["kind"] not in CIRCUMSTANCES:
        return False
    if last["kind"] == "timeout" and not timeout_seconds > last["timeout_seconds"]:
        return False
    return sum(one["timeout_seconds"] >= timeout_seconds for one in failures) < MAX_ATTEMPTS


def retry(calculation: Calculation, timeout_seconds: float) -> bool:
    """Take a failed calculation back to ``submitting``, for a fresh Firework.

    Args:
        calculation: One that `may_retry`.
        timeout_seconds: Wall-clock limit of the new attempt, s.

    Returns:
        Whether this call did it; False when somebody was faster.
    """
    info = {name: value for name, value in calculation.info.items() if name != "failure"}
    info |= {"failures": _failures(calculation), "timeout_seconds": timeout_seconds}
    source, to = CalculationState.FAILED, CalculationState.SUBMITTING
    return calculations.advance(calculation.hash, source, to, fw_id=None, error=None, info=info)


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
