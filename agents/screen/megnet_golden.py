"""What MEGNet mp-2018.6.1 says of five crystals, computed with the original TensorFlow code.

Gaps jump with small changes of a cell, so the lattice parameters are part of the numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pymatgen.core import Structure

TOLERANCE = 0.005
"""Largest accepted deviation, in the unit of the property."""

GOLDEN: dict[str, dict[str, float]] = {
    "NaCl": {"formation_energy_per_atom": -2.095, "band_gap": 4.887, "p_gap": 0.993},
    "Si": {"formation_energy_per_atom": 0.013, "band_gap": 0.763, "p_gap": 0.532},
    "SrTiO3": {"formation_energy_per_atom": -3.564, "band_gap": 1.830, "p_gap": 0.906},
    "GaAs": {"formation_energy_per_atom": -0.346, "band_gap": 0.053, "p_gap": 0.541},
    "TiO2": {"formation_energy_per_atom": -3.486, "band_gap": 1.762, "p_gap": 0.439},
}
"""Formula to property to value (eV/atom, eV, 1)."""


def golden_crystals() -> dict[str, Structure]:
    """Build the five crystals, by formula.

    Returns:
        Primitive cells of rock salt, diamond, cubic perovskite, zinc blende and rutile.
    """
    from pymatgen.core import Lattice, Structure

    def cubic_face_centred(a: float, species: list[str], second: float) -> Structure:
        lattice = Lattice([[0.0, a / 2, a / 2], [a / 2, 0.0, a / 2], [a / 2, a / 2, 0.0]])
        return Structure(lattice, species, [[0.0] * 3, [second] * 3])

    u = 0.305
    rutile = [[0, 0, 0], [0.5, 0.5, 0.5], [u, u, 0], [1 - u, 1 - u, 0]]
    rutile += [[0.5 + u, 0.5 - u, 0.5], [0.5 - u, 0.5 + u, 0.5]]
    perovskite = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return {
        "NaCl": cubic_face_centred(5.692, ["Na", "Cl"], 0.5),
        "Si": cubic_face_centred(5.469, ["Si", "Si"], 0.25),
        "SrTiO3": Structure(Lattice.cubic(3.945), ["Sr", "Ti", "O", "O", "O"], perovskite),
        "GaAs": cubic_face_centred(5.75, ["Ga", "As"], 0.25),
        "TiO2": Structure(Lattice.tetragonal(4.653, 2.969), ["Ti"] * 2 + ["O"] * 4, rutile),
    }
