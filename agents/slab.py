"""Slabs: one layer in a periodic cell, its vacuum along c.

C2DB (doi 10.1088/2053-1583/ac1059) writes every layer so, with 11 to 36 Å of vacuum. How much of it
a record has means nothing, but it enters the volume, and with it every length in units of
(V/N)^(1/3): before slabs are compared they get one vacuum.

The vacuum of a cell is its widest empty gap along c, from nucleus to nucleus and at right angles to
the layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pymatgen.core import Structure

MIN_VACUUM = 10.0
"""Less than this is no vacuum, Å: C2DB has 11.5 and more, bulk crystals of MP-20 below 9.5 (73 of
9,046 in its test split have more, and are layers in a vacuum)."""

MATCHING_VACUUM = 15.0
"""What slabs get before they are compared, Å."""


DFT_VACUUM = 12.0
"""What slabs get in DFT where a campaign does not say, Å: docs/two-dimensional.md."""

LAYER_SPACE = 3.5
"""What a layer is taken to need besides its thickness, Å: about the space between the layers of a
van der Waals crystal (graphite 3.35). It makes volume and stress of a slab those of a stack, which
do not depend on the vacuum."""


class NoSlab(ValueError):
    """A crystal without a vacuum along c was to be treated as a slab."""


def vacuum(structure: Structure) -> float:
    """Return the height of the widest empty gap along c, Å; the full height without atoms."""
    return _widest_gap(structure)[1] * _height(structure.lattice.matrix)


def thickness(structure: Structure) -> float:
    """Return the distance of the outermost nuclei, at right angles to the layer, Å."""
    return _height(structure.lattice.matrix) - vacuum(structure)


def area(structure: Structure) -> float:
    """Return the area of the cell in the plane, Å^2."""
    a, b, _ = structure.lattice.matrix
    return float(np.linalg.norm(np.cross(a, b)))


def layer_volume(structure: Structure) -> float:
    """Return a slab's volume without its vacuum: area times (thickness + `LAYER_SPACE`), Å^3."""
    return area(structure) * (thickness(structure) + LAYER_SPACE)


def is_slab_like(structure: Structure) -> bool:
    """Say whether there is a vacuum along c; whether one layer fills the rest it does not say.

    See `agents.screen.dimensionality` for that.
    """
    return len(structure) > 0 and vacuum(structure) >= MIN_VACUUM


def with_vacuum(structure: Structure, vacuum: float) -> Structure:
    """Give a slab another vacuum, and lay it into standard axes.

    Args:
        structure: A slab with its vacuum along c; c may be tilted.
        vacuum: Of the new cell, Å, from the highest to the lowest nucleus of the next image.

    Returns:
        The same layer: a along x, b in the xy plane, c along z, the middle of the layer at half
        of c. Lengths and angle of a and b, and all distances within the layer, are as before; sites
        keep their order and properties.

    Raises:
        NoSlab: There is no vacuum along c.
        ValueError: ``vacuum`` is not a positive number.
    """
    from pymatgen.core import Structure

    if not (np.isfinite(vacuum) and vacuum > 0):
        raise ValueError(f"a vacuum of {vacuum} Å is impossible: give a positive length")
    require_slab(structure)
    middle_of_gap, _ = _widest_gap(structure)
    matrix = np.asarray(structure.lattice.matrix, dtype=float)
    fractional = np.array(structure.frac_coords, dtype=float)
    fractional[:, 2] = (fractional[:, 2] - middle_of_gap) % 1.0  # no atom is near the edge
    axes = _axes(matrix)
    cartesian = fractional @ matrix @ axes.T
    heights = cartesian[:, 2]
    height = float(heights.max() - heights.min()) + vacuum
    middle = 0.5 * (heights.max() + heights.min())
    cartesian[:, 2] += 0.5 * height - middle
    lattice = np.zeros((3, 3))
    lattice[:2, :2] = (matrix[:2] @ axes.T)[:, :2]
    lattice[2, 2] = height
    return Structure(
        lattice,
        structure.species,
        cartesian,
        coords_are_cartesian=True,
        to_unit_cell=True,
        site_properties=structure.site_properties or None,
    )


def require_slab(structure: Structure) -> None:
    """Refuse a crystal without a vacuum along c.

    Raises:
        NoSlab: With the numbers.
    """
    if not is_slab_like(structure):
        found = vacuum(structure) if len(structure) else 0.0
        raise NoSlab(
            f"{structure.composition.reduced_formula} has an empty gap of {found:.2f} Å along c, a "
            f"slab needs {MIN_VACUUM:g}: give a cell whose vacuum is along c"
        )


def _widest_gap(structure: Structure) -> tuple[float, float]:
    """Return the middle and the width of the widest empty gap along c, as shares of c."""
    if not len(structure):
        return 0.0, 1.0
    z = np.sort(np.asarray(structure.frac_coords, dtype=float)[:, 2] % 1.0)
    gaps = z - np.concatenate([[z[-1] - 1.0], z[:-1]])  # below each atom
    widest = int(np.argmax(gaps))
    return float(z[widest] - 0.5 * gaps[widest]), float(gaps[widest])


def _height(matrix: NDArray[np.float64]) -> float:
    """Return the height of a cell over its ab plane, Å."""
    normal = np.cross(matrix[0], matrix[1])
    return float(abs(matrix[2] @ normal) / np.linalg.norm(normal))


def _axes(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rows x, y, z of the frame with a along x and b in the upper xy half plane."""
    x = matrix[0] / np.linalg.norm(matrix[0])
    z = np.cross(matrix[0], matrix[1])
    z /= np.linalg.norm(z)
    return np.array([x, np.cross(z, x), z])
