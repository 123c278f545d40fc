"""What is changed when self-consistency is not reached, rung by rung, before giving up.

The first rung is the level of theory itself. Slower mixing and more iterations reach the same
answer. A wider smearing and a higher cut-off do not quite, so the result carries them (``changes``)
and nobody can mistake it for the plain level. VASP has no ladder here: custodian's handlers climb
their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CURABLE = frozenset({"scf"})
"""Kinds of failure that another rung may cure."""

SAME_LEVEL = frozenset({"mixer", "max_iterations"})
"""Changes that leave the converged answer where it is."""


@dataclass(frozen=True)
class Rung:
    """One set of changes.

    Attributes:
        fixed: Settings or options of the code that are replaced.
        factors: Settings that are multiplied.
    """

    fixed: Mapping[str, Any] = field(default_factory=dict)
    factors: Mapping[str, float] = field(default_factory=dict)

    def changes(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values that replace those of a level of theory.

        Raises:
            KeyError: The level has no setting that is to be multiplied.
        """
        scaled: dict[str, Any] = {}
        for name, factor in self.factors.items():
            value = settings[name] * factor
            scaled[name] = round(value) if isinstance(settings[name], int) else value
        return {**self.fixed, **scaled}


SLOW_MIXING = {"mixer": {"name": "pulay", "beta": 0.02, "nmaxold": 8, "weight": 100.0}}

LADDERS: dict[str, tuple[Rung, ...]] = {
    "gpaw": (
        Rung(),
        Rung(SLOW_MIXING, {"max_iterations": 2}),
        Rung(SLOW_MIXING, {"max_iterations": 2, "smearing": 2}),
        Rung(SLOW_MIXING, {"max_iterations": 2, "smearing": 2, "cutoff": 1.25}),
    )
}


def ladder(code: str, settings: Mapping[str, Any], rungs: int) -> list[dict[str, Any]]:
    """Return the changes of each attempt at a calculation.

    Args:
        code: Name of the DFT code.
        settings: Record of the level of theory.
        rungs: Attempts at most.

    Returns:
        At least one; the first changes nothing.
    """
    chosen = LADDERS.get(code, (Rung(),))[: max(1, rungs)]
    return [rung.changes(settings) for rung in chosen]


def changes_level(changes: Mapping[str, Any]) -> bool:
    """Say whether a result with these changes is not quite one of its level of theory."""
    return not set(changes) <= SAME_LEVEL
