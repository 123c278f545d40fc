"""A guess of a crystal's Hessian over positions and cell, from its geometry alone.

Every pair of near atoms is a spring. The idea is that of the preconditioners of Packwood et al.
(doi 10.1063/1.4947024) and Mones et al. (doi 10.1038/s41598-018-32105-x); the springs here also
pull at the cell, so that the guess couples it with the atoms. The constants were fitted to CHGNet
Hessians of 20 relaxed crystals of all three data sets.
"""

from __future__ import annotations

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

from agents.relax.cell_coordinates import CellCoordinates
from agents.relax.neighbours import bonds_within

#: Springs reach this far, Å.
CUTOFF = 6.0
#: Spring constant of two atoms whose covalent radii add up to 3 Å, at their natural distance,
#: eV/Å^2; its power of that sum, and its decay with the relative distance.
STIFFNESS = 0.55
POWER = 5.0
DECAY = 4.0
#: A bond is not stiffer than it would be when compressed by this share.
COMPRESSION = 0.3
#: Stiffness across a bond relative to along it, and of everything else, eV/Å^2.
BENDING = 0.025
FLOOR = 0.05


def weights(crystal: CellCoordinates) -> NDArray[np.float64]:
    """Return how far atoms move, all together, when a coordinate changes by one; shape (D,).

    It makes lengths of steps comparable: one for a position, and for the cell about half the cell's
    edge (in the plane, where only that moves) over the square root of the number of atoms.
    """
    result = np.ones(3 * crystal.n_atoms + (9 if crystal.relax_cell else 0))
    edge = abs(np.linalg.det(crystal.cell)) ** (1 / 3)
    if crystal.in_plane:
        edge = np.linalg.norm(np.cross(crystal.cell[0], crystal.cell[1])) ** (1 / 2)
    result[3 * crystal.n_atoms :] = 0.5 * edge / np.sqrt(crystal.n_atoms)
    return result


def model_hessian(crystal: CellCoordinates, positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a positive definite guess of the Hessian at the undeformed crystal.

    Args:
        crystal: its coordinates.
        positions: of the atoms, Å, shape (N, 3).

    Returns:
        Shape (D, D), in eV over squared coordinates.
    """
    n, scale = crystal.n_atoms, weights(crystal)
    first, second, vectors = bonds_within(
        crystal.cell, positions @ np.linalg.inv(crystal.cell), CUTOFF
    )
    lengths = np.linalg.norm(vectors, axis=1)
    nearest = np.full(n, CUTOFF)
    np.minimum.at(nearest, first, lengths)
    np.minimum.at(nearest, second, lengths)
    radii = covalent_radii[crystal.numbers]
    radii_sum = radii[first] + radii[second]
    natural = np.maximum(nearest[first], nearest[second]) ** (1 / 3) * radii_sum ** (2 / 3)
    stretch = np.maximum(lengths / natural - 1.0, -COMPRESSION)
    springs = STIFFNESS * (3.0 / radii_sum) ** POWER * np.exp(-DECAY * stretch)

    change = np.zeros((len(first), 3, len(scale)))  # of a bond's vector by the coordinates
    bond = np.arange(len(first))
    for axis in range(3):
        change[bond, axis, 3 * first + axis] += 1.0
        change[bond, axis, 3 * second + axis] -= 1.0
        if crystal.relax_cell:
            row = 3 * n + 3 * axis
            change[:, axis, row : row + 3] += crystal.free[axis] * vectors / n
    along = np.einsum("bi,bid->bd", vectors / lengths[:, None], change)
    along *= np.sqrt(springs)[:, None]
    across = (np.sqrt(BENDING * springs)[:, None, None] * change).reshape(-1, len(scale))
    return along.T @ along + across.T @ across + FLOOR * np.diag(scale**2)
