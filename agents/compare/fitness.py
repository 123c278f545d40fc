"""What the methods of a comparison are told to minimise; all of them the same."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING

from agents.relax.hull import Hull
from agents.relax.phases import HullRefused

if TYPE_CHECKING:
    from pymatgen.core import Composition

    from agents.compare.evaluation import Evaluated
    from agents.relax.phases import Phases

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


class SinglePointHulls:
    """Distances of decoded crystals to the hulls of the known crystals as they are listed.

    A table that every method may look things up in: no candidate is evaluated for it, so it costs
    no evaluations. Hull energies are remembered by formula.
    """

    def __init__(self, phases: Phases) -> None:
        """Take the competing phases, with their single-point energies."""
        self._phases = phases
        self._energies: dict[str, float | None] = {}

    def above(self, evaluated: Evaluated) -> float | None:
        """Return the energy above the hull, eV/atom; None without an energy or a hull."""
        if evaluated.formation_energy is None or evaluated.formula is None:
            return None
        assert evaluated.structure is not None  # it has an energy
        hull = self.energy(evaluated.formula, evaluated.structure.composition)
        return None if hull is None else evaluated.formation_energy - hull

    def energy(self, formula: str, composition: Composition) -> float | None:
        """Return the hull's energy at a composition, eV/atom; None where the hull is refused."""
        if formula not in self._energies:
            self._energies[formula] = self._computed(composition)
        return self._energies[formula]

    def _computed(self, composition: Composition) -> float | None:
        try:
            hull = Hull(self._phases.phases_of(composition.chemical_system))
        except HullRefused:
            return None
        return hull.at(composition, 0.0).hull_energy_per_atom
