"""Crystals as plain records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymatgen.core import Structure


def structure_to_record(structure: Structure) -> dict[str, Any]:
    """Write a crystal as plain JSON.

    Args:
        structure: An ordered crystal; oxidation states and site properties are dropped.

    Returns:
        ``{"lattice": (3, 3) in Å, rows are vectors, "species": N symbols, "frac_coords": (N, 3)}``.

    Raises:
        ValueError: A site is disordered.
    """
    if not structure.is_ordered:
        raise ValueError(f"{structure.composition} has partially occupied sites: order it first")
    return {
        "lattice": structure.lattice.matrix.tolist(),
        "species": [site.specie.symbol for site in structure],
        "frac_coords": structure.frac_coords.tolist(),
    }


def record_to_structure(record: dict[str, Any]) -> Structure:
    """Read a crystal back; the inverse of `structure_to_record`, to the last bit."""
    from pymatgen.core import Structure

    return Structure(record["lattice"], record["species"], record["frac_coords"])


def crystal_fields(structure: Structure) -> dict[str, Any]:
    """Write the fields of a candidate that follow from its crystal.

    Returns:
        ``structure``, ``formula`` (pymatgen's reduced formula), ``chemical_system``, ``elements``
        (sorted), ``n_atoms``.
    """
    elements = sorted({site.specie.symbol for site in structure})
    return {
        "structure": structure_to_record(structure),
        "formula": structure.composition.reduced_formula,
        "chemical_system": "-".join(elements),
        "elements": elements,
        "n_atoms": len(structure),
    }
