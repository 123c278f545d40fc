"""Reference phases of the elements, as DFT computes them.

Solids are the primitive cells of the phases that the Materials Project measures formation energies
against, or of the observed phase (table built by `agents.verify.properties.reference_table`). H, N,
O, F and Cl are their diatomic molecules in a box, as there (doi 10.1103/PhysRevB.84.045115).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from db.crystals import record_to_structure

if TYPE_CHECKING:
    from pymatgen.core import Structure

TABLE = Path(__file__).parent / "data" / "references.json"


class MissingReference(ValueError):
    """There is no reference structure for an element."""


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
    solids = _solids()
    if element not in solids:
        raise MissingReference(f"{TABLE.name} has no reference phase of {element}")
    return record_to_structure(solids[element]["structure"])


def reference_info(element: str) -> dict[str, Any]:
    """Describe an element's reference, to be recorded with its calculation.

    Returns:
        ``element``, ``phase``; for a phase that stands in for the ground state also ``stands_for``,
        ``above_ground_state`` (eV/atom) and ``energy_source``.
    """
    if is_molecule(element):
        return {"element": element, "phase": f"{element}2 molecule"}
    known = _solids().get(element, {})
    extra = ("stands_for", "above_ground_state", "energy_source")
    return {
        "element": element,
        "phase": known.get("source_id"),
        **{name: known[name] for name in extra if name in known},
    }


def ground_state_energy(energy_per_atom: float, info: Mapping[str, Any]) -> float:
    """Return the energy of an element's ground state from that of the phase that was computed.

    Args:
        energy_per_atom: Computed, eV/atom.
        info: What was recorded with the calculation (`reference_info`).

    Returns:
        eV/atom; the computed energy itself where the phase is the ground state.
    """
    return energy_per_atom - float(info.get("above_ground_state", 0.0))


@cache
def _solids() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(TABLE.read_text())["elements"]
    return table


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
