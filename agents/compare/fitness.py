"""What the methods of a comparison are told to minimise; all of them the same."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agents.compare.evaluation import Evaluated
    from agents.relax.single_point_hulls import SinglePointHulls

Worth = Callable[["Evaluated"], float | None]
"""What is minimised; None for a crystal that gets the penalty."""


class Fitness(StrEnum):
    """Quantities that a search can minimise."""

    FORMATION_ENERGY = "formation_energy"  # eV/atom
    TOTAL_ENERGY = "total_energy"  # eV of the cell, as in Fig. 3f of the paper
    ABOVE_HULL = "above_hull"  # eV/atom, single points of crystal and phases


def formation_energy(evaluated: Evaluated) -> float | None:
    """Return the formation energy, eV/atom."""
    return evaluated.formation_energy


def total_energy(evaluated: Evaluated) -> float | None:
    """Return the energy of the cell, eV."""
    return evaluated.energy


def above_hull(evaluated: Evaluated, hulls: SinglePointHulls) -> float | None:
    """Return the single-point energy above the hull, eV/atom; None without an energy or a hull.

    A table that every method may look things up in: no candidate is evaluated for it, so it costs
    no evaluations.
    """
    if evaluated.formation_energy is None or evaluated.structure is None:
        return None
    return hulls.above(evaluated.structure.composition, evaluated.formation_energy)
