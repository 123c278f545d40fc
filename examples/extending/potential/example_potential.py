"""Any ASE calculator as a potential: replace `_calculator` by yours (MACE, ORB, SevenNet, ...).

CHGNet's own calculator stands in for it here, so that the example needs no download.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

from ase.calculators.calculator import Calculator
from pymatgen.core import Element, Structure

from agents.relax.calculator import atoms_from_structure
from agents.relax.potential import Potential, PotentialResult


def load(device: str) -> Potential:
    """Build the potential; `discovery` then lets it through the sanity gate, once per process."""
    return ThroughASE(_calculator(device))


def _calculator(device: str) -> Calculator:
    from chgnet.model.dynamics import CHGNetCalculator

    with contextlib.redirect_stdout(io.StringIO()):  # standard output belongs to --json
        return CHGNetCalculator(use_device=device)


class ThroughASE(Potential):
    """Asks an ASE calculator about one crystal after the other."""

    name = "through-ase"
    version = "0.3.0"  # of the weights: numbers of two versions are never mixed
    elements = frozenset(Element.from_Z(z).symbol for z in range(1, 84))
    corrections = "mp2020"  # what its labels contain: decides which values the gate expects

    def __init__(self, calculator: Calculator) -> None:
        self._calculator = calculator

    def evaluate(self, structures: Sequence[Structure]) -> list[PotentialResult]:
        """See `Potential.evaluate`."""
        self.require_elements(structures)
        return [self._one(structure) for structure in structures]

    def _one(self, structure: Structure) -> PotentialResult:
        atoms = atoms_from_structure(structure)
        atoms.calc = self._calculator
        return PotentialResult(
            energy=float(atoms.get_potential_energy()),  # eV, of the whole cell
            forces=atoms.get_forces(),  # (N, 3), eV/Å
            stress=atoms.get_stress(voigt=False),  # (3, 3), eV/Å^3
        )
