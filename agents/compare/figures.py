"""From the records of runs to the figures of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

THRESHOLDS = {"hits": 0.0, "hits_below_-0.5": -0.5}
"""Formation energies in eV/atom below which a SMACT-valid crystal counts."""


def figures_of(record: Mapping[str, Any]) -> dict[str, float | None]:
    """Count one run.

    Returns:
        {"hits", "hits_below_-0.5" (distinct reduced formulas of SMACT-valid crystals with a
        formation energy below 0 and below -0.5 eV/atom), "distinct_crystals" (among the crystals
        behind "hits"), "prototypes" (structure types among them, where recorded),
        "share_negative" (evaluations with a negative formation energy, SMACT-valid or not, over
        all), "share_neutral" (SMACT-valid over all), "distinct_formulas", "best" (lowest formation
        energy of a SMACT-valid crystal, eV/atom; None where there is none), "refused" (evaluations
        without an energy), "evaluations", and the times in seconds}; where the best were relaxed
        also "relaxed_near_hull" (new crystals, accepted, at most 0.1 eV/atom above the hull, one a
        formula), "relaxed_near_hull_known_too", "relaxed" (relaxations that count),
        "relaxed_accepted", "undecided" (accepted, but without a hull) and "force_calls" (those of
        the evaluations included).
    """
    rows = list(
        zip(record["formulas"], record["formation_energies"], record["neutral"], strict=True)
    )
    valid = [(formula, energy) for formula, energy, neutral in rows if neutral]
    valid = [(formula, energy) for formula, energy in valid if energy is not None]
    negative = sum(energy is not None and energy < 0 for _, energy, _ in rows)
    n = len(rows)
    figures: dict[str, float | None] = {
        name: len({formula for formula, energy in valid if energy < limit})
        for name, limit in THRESHOLDS.items()
    }
    figures["distinct_crystals"] = _different(record["crystals"])
    if "prototypes" in record:
        figures["prototypes"] = _different(record["prototypes"])
    figures |= {
        "share_negative": negative / n if n else None,
        "share_neutral": sum(record["neutral"]) / n if n else None,
        "distinct_formulas": len({formula for formula, _, _ in rows if formula is not None}),
        "best": min((energy for _, energy in valid), default=None),
        "refused": sum(record["refused"].values()),
        "evaluations": n,
    }
    times = ("seconds", "cpu_seconds", "seconds_without_potential", "cpu_seconds_without_potential")
    figures |= {name: record[name] for name in times}
    if "relaxed" in record:
        figures |= _relaxed_figures(record["relaxed"], n)
    return figures


def _relaxed_figures(relaxed: Mapping[str, Any], evaluations: int) -> dict[str, float | None]:
    crystals = relaxed["crystals"]
    accepted = [one for one in crystals if one["refused"] is None]
    near = [one for one in accepted if one["near_hull"]]
    return {
        "relaxed_near_hull": sum(one["known"] is None for one in near),
        "relaxed_near_hull_known_too": len(near),
        "relaxed": len(crystals),
        "relaxed_accepted": len(accepted),
        "undecided": sum(one["undecided"] is not None for one in accepted),
        "force_calls": evaluations + relaxed["force_calls"],
    }


def _different(values: Sequence[Any]) -> int:
    return len({value for value in values if value is not None})


def hits_along(record: Mapping[str, Any], limit: float = 0.0) -> list[int]:
    """Return the hits found up to and including each evaluation."""
    found: set[str] = set()
    counts = []
    for formula, energy, neutral in zip(
        record["formulas"], record["formation_energies"], record["neutral"], strict=True
    ):
        if neutral and energy is not None and energy < limit:
            found.add(formula)
        counts.append(len(found))
    return counts


def spread(
    figures: Mapping[tuple[int, int], Mapping[str, float | None]],
) -> dict[str, dict[str, float | None]]:
    """Average the figures of one method over its runs.

    Args:
        figures: (base, seed) → figures of the run.

    Returns:
        Name of the figure → {"mean" (over all runs), "sd" (over the seeds, of the mean over the
        bases), "sd_bases" (over the bases, of the mean over the seeds)}; sample standard
        deviations, None for one seed or base; a figure that a run lacks is left out of the means.
    """
    names = dict.fromkeys(name for run in figures.values() for name in run)
    return {
        name: {
            "mean": _mean([run.get(name) for run in figures.values()]),
            "sd": _deviation(figures, name, 1),
            "sd_bases": _deviation(figures, name, 0),
        }
        for name in names
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _deviation(
    figures: Mapping[tuple[int, int], Mapping[str, float | None]], name: str, axis: int
) -> float | None:
    """Return the deviation between the means of the runs that share a base (0) or a seed (1)."""
    groups: dict[int, list[float | None]] = {}
    for place, run in figures.items():
        groups.setdefault(place[axis], []).append(run.get(name))
    means = [mean for mean in map(_mean, groups.values()) if mean is not None]
    return float(np.std(means, ddof=1)) if len(means) > 1 else None
