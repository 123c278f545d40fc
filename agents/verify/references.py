"""Reference phases of the elements, as DFT computes them.

Solids are the Materials Project's ground states as shipped with the default potential's reference
table. H, N, O, F and Cl are their diatomic molecules in a box: that is what formation energies are
measured against in the Materials Project, too (doi 10.1103/PhysRevB.84.045115).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pymatgen.core import Structure

SOLIDS = "chgnet-0.3.0"
"""Potential whose reference table holds the structures of the solids."""

BOND_LENGTHS: dict[str, float] = {"H": 0.75, "N": 1.11, "O": 1.23, "F": 1.42, "Cl": 2.01}
"""PBE bond lengths of the diatomic gases, Å (rounded; 0.01 Å changes the energy by ~3 meV)."""

BOX_STEPS = (0.0, 0.1, 0.2)
"""Added to the three edges, Å: an orthorhombic box leaves no symmetry that splits open shells."""


def is_molecule(element: str) -> bool:
    """Say whether an element's reference is a molecule in a box."""
    return element in BOND_LENGTHS


def reference_structure(element: str, vacuum: float = 3.5) -> Structure:
    """Return the reference phase of an element.

    Args:
        element: Its symbol.
        vacuum: Distance from a molecule to each side of its box, Å.

    Returns:
        The crystal, or the molecule in the middle of its box.

    Raises:
        MissingReference: There is no structure for this element.
    """
    if is_molecule(element):
        return diatomic(element, BOND_LENGTHS[element], vacuum)
    from agents.relax.references import ElementalReferences

    return ElementalReferences.load(SOLIDS).ground_state(element)


def diatomic(element: str, bond: float, vacuum: float) -> Structure:
    """Put a diatomic molecule into the middle of an orthorhombic box.

    Args:
        element: Symbol of both atoms.
        bond: Bond length, Å.
        vacuum: Distance to each side of the box, Å.
    """
    from pymatgen.core import Lattice, Structure

    a, b, c = (2 * vacuum + step for step in BOX_STEPS)
    c += bond
    half = bond / 2 / c
    return Structure(
        Lattice.orthorhombic(a, b, c),
        [element] * 2,
        [[0.5, 0.5, 0.5 - half], [0.5, 0.5, 0.5 + half]],
    )
