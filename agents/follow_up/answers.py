"""What DFT answered about a hit, put together from its finished calculations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agents.targets import Window
from agents.verify.tasks import Task
from db.documents import Calculation
from db.states import CalculationState

GAP_NOTE = (
    "A semilocal functional gives gaps that are too small, so that one inside a window is no proof "
    "that the crystal's gap is. HSE06 on PBE's density is closer; spin-orbit coupling lowers the "
    "gap of heavy elements and is in none of the other numbers."
)

KEPT: dict[Task, tuple[str, ...]] = {
    Task.BANDS: (
        *("band_gap_path", "direct_gap_path", "direct", "is_metal", "path", "top", "bottom"),
        "density",
    ),
    Task.SPIN_ORBIT: (
        *("band_gap_spin_orbit", "band_gap", "shift", "direct_gap_spin_orbit", "direct"),
        *("is_metal", "k_size", "density"),
    ),
    Task.HYBRID: (
        *("band_gap_hybrid", "band_gap", "shift", "direct_gap_hybrid", "direct", "functional"),
        *("is_metal", "k_size", "edges_at", "refused", "density"),
    ),
}
"""Numbers that are copied from a calculation to its candidate; the bands stay where they are."""


def answer_of(task: Task, calculation: Calculation) -> dict[str, Any]:
    """Summarise one finished calculation.

    Returns:
        Plain JSON values: its hash, level, cost and numbers, or ``failed`` with the reason.
    """
    record: dict[str, Any] = {
        "calculation": str(calculation.hash),
        "level": str(calculation.level),
        "code": f"{calculation.code} {calculation.version}",
    }
    if calculation.state == CalculationState.FAILED:
        return {**record, "failed": str(calculation.error)}
    result = calculation.result
    kept = {name: result[name] for name in KEPT[task] if name in result}
    changes = {"changes": result["changes"]} if result.get("changes") else {}
    return {**record, **kept, **changes, "core_seconds": result["cpu_seconds"]}


def gaps(
    verified_gap: float, answers: Mapping[str, Mapping[str, Any]], windows: Iterable[Window]
) -> dict[str, Any]:
    """Put the gaps of a hit side by side, and say which of them are inside the window.

    The best estimate is the gap on the path (or the verified one, if that is smaller), plus the
    shifts of HSE06 and of spin-orbit coupling as far as they were computed: each is a difference on
    one mesh, and they are taken to add up.

    Args:
        verified_gap: The gap that the hit was verified with, eV.
        answers: From `answer_of`, by task.
        windows: The campaign's targets.

    Returns:
        Plain JSON values, eV: ``verified``, ``path``, ``spin_orbit_shift``, ``hybrid_shift``,
        ``estimate``, ``includes``, ``in_window`` (of ``verified`` and ``estimate``) and a ``note``.
    """
    path = answers.get(Task.BANDS, {}).get("band_gap_path")
    shifts = {
        "hybrid": answers.get(Task.HYBRID, {}).get("shift"),
        "spin_orbit": answers.get(Task.SPIN_ORBIT, {}).get("shift"),
    }
    known = {name: shift for name, shift in shifts.items() if shift is not None}
    smallest = verified_gap if path is None else min(verified_gap, path)
    estimate = max(0.0, smallest + sum(known.values()))
    window = next((one for one in windows if one.property == "band_gap"), None)
    inside = {}
    if window is not None:
        inside = {
            "verified": window.contains(verified_gap),
            "estimate": window.contains(estimate),
        }
    return {
        "verified": verified_gap,
        "path": path,
        "hybrid_shift": shifts["hybrid"],
        "spin_orbit_shift": shifts["spin_orbit"],
        "estimate": estimate,
        "includes": sorted(known),
        "in_window": inside,
        "note": GAP_NOTE,
    }
