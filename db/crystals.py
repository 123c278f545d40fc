"""Crystals as plain records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymatgen.core import Structure


def structure_to_record(structure: Structure) -> dict[str, Any]:
    """Write a crystal as plain JSON.

    Args:
        structure: An ordered crystal; oxidation states and site properties are dropped, but for
            the magnetic moments where there are some.

    Returns:
        ``{"lattice": (3, 3) in Å, rows are vectors, "species": N symbols, "frac_coords": (N, 3)}``,
        and ``"magmom"``, N moments in μB along one axis, where the sites have that property.

    Raises:
        ValueError: A site is disordered, or its magnetic moment is a vector.
    """
    if not structure.is_ordered:
        raise ValueError(f"{structure.composition} has partially occupied sites: order it first")
    record: dict[str, Any] = {
        "lattice": structure.lattice.matrix.tolist(),
        "species": [site.specie.symbol for site in structure],
        "frac_coords": structure.frac_coords.tolist(),
    }
    moments = structure.site_properties.get("magmom")
    if moments is not None and any(moments):
        record["magmom"] = [_along_axis(moment) for moment in moments]
    return record


def _along_axis(moment: Any) -> float:
    try:
        return float(moment or 0.0)
    except TypeError as error:
        raise ValueError(
            f"magmom is {moment!r}: moments are numbers along one axis (collinear), μB"
        ) from error


def record_to_structure(record: dict[str, Any]) -> Structure:
    """Read a crystal back; the inverse of `structure_to_record`, to the last bit."""
    from pymatgen.core import Structure

    moments = {"magmom": record["magmom"]} if record.get("magmom") is not None else None
    return Structure(
        record["lattice"], record["species"], record["frac_coords"], site_properties=moments
    )


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
