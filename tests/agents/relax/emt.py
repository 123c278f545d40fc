"""ASE's EMT as a potential: exact, cheap, and not ours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.calculators.emt import EMT
from pymatgen.core import Lattice, Structure

from agents.relax.calculator import atoms_from_structure
from agents.relax.potential import Potential, PotentialResult


class EMTPotential(Potential):
    """Counts the batches it is asked about."""

    name = "emt"
    version = "1"
    elements = frozenset({"Al", "Cu", "Ag", "Au", "Ni", "Pd", "Pt"})

    def __init__(self) -> None:
        self.batches: list[int] = []

    def evaluate(self, structures: Sequence[Structure]) -> list[PotentialResult]:
        self.require_elements(structures)
        self.batches.append(len(structures))
        results = []
        for structure in structures:
            atoms = atoms_from_structure(structure)
            atoms.calc = EMT()
            results.append(
                PotentialResult(
                    atoms.get_potential_energy(),
                    atoms.get_forces(),
                    atoms.get_stress(voigt=False),
                )
            )
        return results


def alloys(n: int, seed: int = 3, amount: float = 0.15) -> list[Structure]:
    """Return perturbed fcc alloys of 4 atoms, with strained cells; always the same."""
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        species = generator.choice(sorted({"Al", "Cu", "Ag", "Au", "Pd"}), 4)
        sites = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
        cell = 4.0 * np.eye(3) + generator.normal(0, amount, (3, 3))
        shift = generator.normal(0, amount, (4, 3))
        made.append(
            Structure(Lattice(cell), list(species), sites @ cell + shift, coords_are_cartesian=True)
        )
    return made
