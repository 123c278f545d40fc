"""What the methods of a comparison are told to minimise; all of them the same."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linprog

from agents.relax.phases import HullRefused, elements_of, subsystems

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
    """Distances of decoded crystals to the hulls of known crystals as they are listed.

    A table that every method may look things up in: no candidate is evaluated for it, so it costs
    no evaluations. Small cells compete, and the large ones of elements and binary compounds. Large
    cells decide about many hulls (docs/hull.md), but those of three and more elements are too many
    to evaluate for every candidate that is only ranked; a hull that lacks phases is too high, and a
    distance to it a lower bound. Verdicts are given with all phases.

    The hull is a linear program at one composition (the mixture of phases of lowest energy), which
    is faster than the whole diagram when every candidate has a chemical system of its own.
    """

    def __init__(self, small: Phases, large: Phases) -> None:
        """Take the phases of small cells, and those of all cells at the same level."""
        self._small, self._large = small, large
        self._energies: dict[str, float | None] = {}
        self._systems: dict[str, list[tuple[dict[str, float], float]]] = {}

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
        elements = sorted(element.symbol for element in composition.elements)
        try:
            phases = [phase for name in subsystems(elements) for phase in self._alone(name)]
        except HullRefused:
            return None
        shares = np.array([[share.get(e, 0.0) for share, _ in phases] for e in elements])
        wanted = [composition.get_atomic_fraction(e) for e in elements]
        found = linprog([energy for _, energy in phases], A_eq=shares, b_eq=wanted)
        if not found.success:
            raise RuntimeError(f"the hull of {composition} was not found: {found.message}")
        return float(found.fun)

    def _alone(self, system: str) -> list[tuple[dict[str, float], float]]:
        """Return shares of the atoms and energy of the phases of exactly these elements.

        Of equal compositions only the lowest counts.
        """
        if system not in self._systems:
            size = len(elements_of(system))
            lowest: dict[str, tuple[dict[str, float], float]] = {}
            for phase in (self._large if size <= 2 else self._small).phases_of(system):
                if len(phase.composition) < size:
                    continue
                name, energy = phase.composition.reduced_formula, phase.formation_energy_per_atom
                if name not in lowest or energy < lowest[name][1]:
                    shares = phase.composition.fractional_composition.get_el_amt_dict()
                    lowest[name] = (shares, energy)
            self._systems[system] = list(lowest.values())
        return self._systems[system]
