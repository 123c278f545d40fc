"""Distances of unrelaxed crystals to hulls of unrelaxed phases: cheap, and good for ranking."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linprog

from agents.relax.phases import HullRefused, elements_of, subsystems

if TYPE_CHECKING:
    from pymatgen.core import Composition

    from agents.relax.phases import Phases

SMALL_ATOMS = 20
"""Largest cell of the phases of three and more elements that a ranking asks for."""


class SinglePointHulls:
    """Distances of decoded crystals to the hulls of known crystals as they are listed.

    Small cells compete, and the large ones of elements and binary compounds. Large cells decide
    about many hulls (docs/hull.md), but those of three and more elements are too many to evaluate
    for every candidate that is only ranked; a hull that lacks phases is too high, and a distance to
    it a lower bound. Verdicts are given with all phases.

    The hull is a linear program at one composition (the mixture of phases of lowest energy), which
    is faster than the whole diagram when every candidate has a chemical system of its own.
    """

    def __init__(self, small: Phases, large: Phases) -> None:
        """Take the phases of small cells, and those of all cells at the same level."""
        self._small, self._large = small, large
        self._energies: dict[str, float | None] = {}
        self._systems: dict[str, list[tuple[dict[str, float], float]]] = {}

    def above(self, composition: Composition, formation_energy: float) -> float | None:
        """Return the energy above the hull, eV/atom; None where the hull is refused.

        Args:
            composition: of the crystal.
            formation_energy: its own, eV/atom.
        """
        hull = self.energy(composition.reduced_formula, composition)
        return None if hull is None else formation_energy - hull

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
