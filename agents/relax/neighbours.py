"""Neighbour lists of small periodic crystals by matrix algebra, each bond once."""

from __future__ import annotations

import functools
import itertools

import numpy as np
from numpy.typing import NDArray

#: Atoms closer than this are one atom, Å.
COINCIDENT = 1e-8
#: A cell that needs more periodic images than this is a needle or a sheet, not a crystal.
MAX_IMAGES = 100_000

Bonds = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


def bonds_within(
    cell: NDArray[np.float64], fractional: NDArray[np.float64], cutoff: float
) -> Bonds:
    """List every pair of atoms, periodic images included, closer than a cutoff.

    Args:
        cell: lattice vectors as rows, Å, shape (3, 3).
        fractional: coordinates, shape (N, 3).
        cutoff: Å.

    Returns:
        First atom (U,), second atom (U,) with first <= second, and the vectors from the second
        (one of its images) to the first, Å, (U, 3). A bond and its reverse are listed once.

    Raises:
        ValueError: the cell is so thin that its images cannot be listed.
    """
    first, second = _pairs(len(fractional))
    difference = fractional[first] - fractional[second]
    vectors = (difference - np.round(difference)) @ cell  # (P, 3)
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    reach = np.floor(cutoff / heights + 0.5)
    if not np.prod(2 * reach + 1) <= MAX_IMAGES:
        raise ValueError(
            f"the cell is only {heights.min():.3g} Å thick: more than {MAX_IMAGES} periodic images "
            f"lie within {cutoff} Å of an atom"
        )
    images = _images(*(int(r) for r in reach))
    shifts = images @ cell  # (M, 3)
    squared = (
        (vectors * vectors).sum(1)[:, None]
        + 2.0 * (vectors @ shifts.T)
        + (shifts * shifts).sum(1)[None]
    )
    pair, image = np.nonzero(squared < cutoff * cutoff)
    # of an atom's own images only one half: `images` is point-symmetric about its middle
    once = (first[pair] != second[pair]) | (image > len(images) // 2)
    pair, image = pair[once], image[once]
    found = vectors[pair] + shifts[image]
    apart = (found * found).sum(1) > COINCIDENT**2
    return first[pair[apart]], second[pair[apart]], found[apart]


@functools.lru_cache(maxsize=64)
def _pairs(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return all pairs i <= j of n atoms."""
    first, second = np.triu_indices(n)
    return first, second


@functools.lru_cache(maxsize=256)
def _images(*reach: int) -> NDArray[np.float64]:
    """Return the cells around the origin up to `reach` along each axis, shape (M, 3)."""
    return np.array(list(itertools.product(*(range(-r, r + 1) for r in reach))), dtype=float)
