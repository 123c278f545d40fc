"""A geometric fingerprint that says which of several crystals of one formula to compare first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core import Structure

VERSION = "neighbours-1"
"""Name of the definition below; fingerprints are stored, so a new definition needs a new name."""
REACH = 2.5
"""Longest distance that counts, in units of (V/N)^(1/3): about 65 neighbours of every atom."""
BINS = 25
"""Bins per pair of elements: 0.1 (V/N)^(1/3) each, about 0.25 Å."""


def fingerprint(structure: Structure) -> NDArray[np.float64]:
    """Describe a crystal by its distances, whatever its cell, origin, order of sites and volume.

    The mean number of neighbours of an atom, by pair of elements and distance, with distances in
    units of (V/N)^(1/3) as in StructureMatcher. A neighbour is shared between the two bins whose
    centres it lies between, the nearer one getting more, so that a small displacement of the atoms
    changes the fingerprint little. It only orders comparisons and rejects nothing.

    Args:
        structure: An ordered crystal.

    Returns:
        Vector of pairs x `BINS` (pairs of elements in alphabetical order), so that crystals of one
        formula have equally long ones.
    """
    length = (structure.volume / len(structure)) ** (1 / 3)
    centres, points, _, distances = structure.get_neighbor_list(REACH * length)
    symbols = sorted({site.specie.symbol for site in structure})
    n = len(symbols)
    of_site = np.array([symbols.index(site.specie.symbol) for site in structure])
    first, second = np.sort([of_site[centres], of_site[points]], axis=0)
    pair = first * n - first * (first - 1) // 2 + second - first
    place = distances / length / REACH * BINS - 0.5
    lower = np.floor(place).astype(int)
    share = place - lower
    counts = np.zeros((n * (n + 1) // 2, BINS))
    for bins, weights in ((lower, 1.0 - share), (lower + 1, share)):
        inside = (bins >= 0) & (bins < BINS)
        np.add.at(counts, (pair[inside], bins[inside]), weights[inside])
    return np.asarray(counts.ravel() / len(structure))


def to_bytes(values: NDArray[np.float64]) -> bytes:
    """Return a fingerprint as it is stored: little-endian float32."""
    return values.astype("<f4").tobytes()


def from_bytes(stored: bytes) -> NDArray[np.float64]:
    """Read what `to_bytes` wrote; rounded to float32, which is far finer than the order needs."""
    return np.frombuffer(stored, dtype="<f4").astype(np.float64)


def nearest_first(
    target: NDArray[np.float64], others: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Order fingerprints by their distance from one.

    Args:
        target: (d).
        others: (n, d).

    Returns:
        Indices (n), the nearest first and equals in their order, and all distances (n).
    """
    distances = np.abs(others - target).sum(axis=1)
    return np.argsort(distances, kind="stable"), distances
