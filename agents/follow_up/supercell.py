"""Supercells for finite displacements, and the q-points that they hold exactly."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pymatgen.core import Structure

STEP = 0.25  # Å: how finely shorter supercells are tried


class SupercellTooLarge(ValueError):
    """Not even the primitive cell has few enough atoms."""


def choose_supercell(
    structure: Structure, length: float, max_atoms: int, *, flat: bool = False
) -> tuple[int, int, int]:
    """Choose how often the cell is repeated in each direction.

    Repetitions are even, because an even supercell holds the zone boundary: the frequencies there
    are then exact, not interpolated. Where the atoms do not suffice for the length asked for, the
    widest supercell that they suffice for is taken; where not even two repetitions are affordable,
    the longest directions are not repeated.

    Args:
        structure: The primitive cell.
        length: Wanted distance between opposite faces, Å.
        max_atoms: Atoms at most.
        flat: The crystal is a slab, whose third lattice vector is not repeated.

    Returns:
        Repetitions along the three lattice vectors.

    Raises:
        SupercellTooLarge: The cell itself has more atoms.
    """
    if len(structure) > max_atoms:
        raise SupercellTooLarge(
            f"the cell has {len(structure)} atoms, more than supercell_atoms = {max_atoms}"
        )
    heights = 1 / np.linalg.norm(structure.lattice.inv_matrix, axis=0)  # between opposite faces
    for least in (2, 1):
        for width in np.arange(length, 0, -STEP):
            even = np.maximum(2, 2 * np.ceil(width / (2 * heights) - 1e-6).astype(int))
            repeats = np.where(heights + 1e-6 >= width, least, even)
            if flat:
                repeats[2] = 1
            if len(structure) * repeats.prod() <= max_atoms:
                return int(repeats[0]), int(repeats[1]), int(repeats[2])
    return 1, 1, 1


def commensurate(repeats: tuple[int, int, int]) -> NDArray[np.float64]:
    """Return the q-points whose waves fit into a supercell.

    Args:
        repeats: Repetitions along the three lattice vectors.

    Returns:
        Shape (Q, 3), in units of the primitive cell's reciprocal vectors, from -1/2 (excluded) to
        1/2; Γ comes first.
    """
    points = np.array(list(product(*(np.arange(n) / n for n in repeats))))
    return points - np.ceil(points - 0.5)


def irreducible(structure: Structure, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one of every set of q-points that symmetry makes equal, the first.

    Args:
        structure: The cell whose reciprocal vectors the points refer to.
        points: Shape (Q, 3).
    """
    rotations = _rotations(structure)
    kept: list[NDArray[np.float64]] = []
    for point in points:
        star = point @ rotations
        if not any(_equal(star, other) for other in kept):
            kept.append(point)
    return np.array(kept)


def labels(
    structure: Structure, points: Sequence[NDArray[np.float64]], *, flat: bool = False
) -> list[str | None]:
    """Name q-points by the special points of the lattice.

    The names are those of Setyawan and Curtarolo (doi 10.1016/j.commatsci.2010.05.010), as ASE
    assigns them.

    Args:
        structure: The cell whose reciprocal vectors the points refer to.
        points: Each of shape (3,).
        flat: The crystal is a slab, whose lattice is that in the plane.

    Returns:
        A name for each point that is a special one, or is equal to one by symmetry; else None.
    """
    from agents.relax.calculator import atoms_from_structure

    cell = atoms_from_structure(structure).cell
    special = cell.bandpath(npoints=0, pbc=(True, True, not flat)).special_points
    rotations = _rotations(structure)
    stars = {name: np.asarray(point) @ rotations for name, point in special.items()}
    return [
        next((name for name, star in stars.items() if _equal(star, point)), None)
        for point in points
    ]


def _equal(star: NDArray[np.float64], point: NDArray[np.float64]) -> bool:
    difference = star - point
    return bool((np.abs(difference - np.round(difference)).max(axis=1) < 1e-3).any())


def _rotations(structure: Structure) -> NDArray[np.float64]:
    """Return the rotations of the crystal and of time reversal; a row q becomes q @ rotation."""
    import spglib

    numbers = [site.specie.Z for site in structure]
    cell = (structure.lattice.matrix, structure.frac_coords, numbers)
    found = spglib.get_symmetry(cell, symprec=1e-2)
    if found is None:
        raise ValueError(f"spglib finds no symmetry in {structure.composition.reduced_formula}")
    rotations = found["rotations"].astype(np.float64)
    return np.concatenate([rotations, -rotations])
