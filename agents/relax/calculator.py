"""ASE calculator over the `Potential` interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from pymatgen.core import Lattice, Structure

if TYPE_CHECKING:
    from agents.relax.potential import Potential


class PotentialCalculator(Calculator):
    """Asks a potential for one crystal at a time, in ASE's units and signs.

    Attributes:
        evaluations: how often the potential was called.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = potential
        self.evaluations = 0

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = None,
        system_changes: Any = all_changes,
    ) -> None:
        """Compute energy (eV), forces (eV/Å) and Voigt stress (eV/Å^3) of `atoms`."""
        super().calculate(atoms, properties, system_changes)
        (result,) = self.potential.evaluate([structure_from_atoms(self.atoms)])
        self.evaluations += 1
        self.results = {
            "energy": result.energy,
            "free_energy": result.energy,
            "forces": result.forces,
            "stress": full_3x3_to_voigt_6_stress(result.stress),
        }


def structure_from_atoms(atoms: Atoms) -> Structure:
    """Return the crystal of ASE atoms, without wrapping positions back into the cell."""
    return Structure(
        Lattice(atoms.cell.array),
        atoms.get_chemical_symbols(),
        atoms.get_scaled_positions(wrap=False),
    )


def atoms_from_structure(structure: Structure) -> Atoms:
    """Return periodic ASE atoms of an ordered crystal."""
    return Atoms(
        symbols=[site.specie.symbol for site in structure],
        scaled_positions=structure.frac_coords,
        cell=structure.lattice.matrix,
        pbc=True,
    )
