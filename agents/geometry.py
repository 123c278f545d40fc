"""Distances and volumes of crystals: the guards that relaxation and screens share.

A crystal is accepted at exactly the limit: too close means *below* the smallest distance allowed.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pymatgen.core import Structure

MIN_VOLUME = 1e-6
"""A cell with less than this has no volume, Å^3."""

_IMAGES = np.array(list(product((-1, 0, 1), repeat=3)), dtype=float)


def shortest_distance(structure: Structure) -> float:
    """Find the shortest distance between two atoms, periodic images of an atom included.

    In a Minkowski-reduced cell the nearest image of a wrapped difference vector lies in the 27
    cells around the origin, so those are enough for any cell, however skewed.

    Args:
        structure: A crystal with at least one atom.

    Returns:
        The distance in Å; for one atom it is the shortest lattice vector.

    Raises:
        ValueError: The cell has no volume or cannot be reduced, or a coordinate is not finite.
    """
    from ase.geometry import minkowski_reduce

    cell = np.asarray(structure.lattice.matrix, dtype=float)
    cartesian = np.asarray(structure.cart_coords, dtype=float)
    if not (np.isfinite(cell).all() and np.isfinite(cartesian).all()):
        raise ValueError(
            "the cell or a coordinate is not a finite number: decode or relax it again"
        )
    volume = abs(np.linalg.det(cell))
    if volume < MIN_VOLUME:
        raise ValueError(f"the cell has no volume ({volume:.2e} Å^3)")
    try:
        reduced, _ = minkowski_reduce(cell)
    except RuntimeError as error:
        raise ValueError(f"the cell is too skewed to be reduced: {error}") from error
    fractional = cartesian @ np.linalg.inv(reduced)
    shortest = float(np.linalg.norm(reduced, axis=1).min())  # an atom and its own image
    images = _IMAGES @ reduced  # (27, 3)
    for i in range(len(fractional) - 1):
        difference = fractional[i + 1 :] - fractional[i]
        difference -= np.round(difference)
        vectors = (difference @ reduced)[:, None, :] + images[None, :, :]  # (n, 27, 3)
        shortest = min(shortest, float(np.sqrt((vectors**2).sum(-1).min())))
    return shortest


def too_close(distance: float, limit: float) -> bool:
    """Say whether a shortest distance breaks its limit, Å; the limit itself is allowed."""
    return distance < limit


def is_finite(structure: Structure) -> bool:
    """Say whether every coordinate is a number and the cell has a volume."""
    return bool(
        np.isfinite(structure.lattice.matrix).all()
        and np.isfinite(structure.frac_coords).all()
        and structure.volume >= MIN_VOLUME
    )
