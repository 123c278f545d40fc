"""Geometric guards: distances and volumes no real crystal has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pymatgen.core import Structure


def shortest_distance(structure: Structure) -> float:
    """Return the shortest distance between two atoms, periodic images included, in Å.

    The images of an atom itself count: in a one-atom cell the answer is the shortest lattice
    vector.
    """
    lattice = structure.lattice
    shortest = min(lattice.get_lll_reduced_lattice().abc)
    if len(structure) > 1:
        distances = lattice.get_all_distances(structure.frac_coords, structure.frac_coords)
        off_diagonal = distances[~np.eye(len(structure), dtype=bool)]
        shortest = min(shortest, float(off_diagonal.min()))
    return float(shortest)


def is_finite(structure: Structure) -> bool:
    """Say whether every coordinate is a number and the cell has a volume."""
    return bool(
        np.isfinite(structure.lattice.matrix).all()
        and np.isfinite(structure.frac_coords).all()
        and structure.volume > 0
    )
