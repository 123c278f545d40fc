"""High-symmetry paths, and what the bands along them say about the gap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from agents.verify.properties.gap import occupied_bands

if TYPE_CHECKING:
    from pymatgen.core import Structure

SAME_ENERGY = 1e-3
"""Gaps that differ by less are equal, eV: a direct gap this close to the smallest one is it."""


@dataclass(frozen=True)
class KPath:
    """A path through the Brillouin zone.

    The special points and their order are those of Setyawan and Curtarolo (doi
    10.1016/j.commatsci.2010.05.010), as ASE assigns them to the lattice.

    Attributes:
        path: Labels in order, "GXWKGLUWLK,UX"; a comma is a jump.
        points: Shape (K, 3), in units of the cell's reciprocal vectors.
        special: The special points by label.
        distances: Shape (K,), along the path, 1/Å (2π included).
    """

    path: str
    points: NDArray[np.float64]
    special: dict[str, tuple[float, float, float]]
    distances: NDArray[np.float64]

    def locate(self, index: int) -> dict[str, Any]:
        """Say where a point of the path is.

        Returns:
            ``k``, and ``label``: the special point, or the two that it lies between with the share
            of the way, "G-X 0.85".
        """
        return {"k": [round(float(x), 6) for x in self.points[index]], "label": self._name(index)}

    def _name(self, index: int) -> str:
        label = self._label(index)
        if label is not None:
            return label
        labels = [self._label(number) for number in range(len(self.points))]
        before = max(number for number in range(index) if labels[number] is not None)
        after = min(number for number in range(index, len(labels)) if labels[number] is not None)
        share = (self.distances[index] - self.distances[before]) / (
            self.distances[after] - self.distances[before]
        )
        return f"{labels[before]}-{labels[after]} {share:.2f}"

    def _label(self, index: int) -> str | None:
        for label, point in self.special.items():
            if np.abs(self.points[index] - point).max() < 1e-6:
                return label
        return None


def high_symmetry_path(structure: Structure, density: float, *, flat: bool = False) -> KPath:
    """Choose the path of a primitive cell.

    Args:
        structure: The cell that is computed.
        density: Points per Å^-1 (2π included).
        flat: A slab with its vacuum along c: the path is that of the lattice in the plane.
    """
    from ase.cell import Cell

    found = Cell(structure.lattice.matrix).bandpath(density=density, pbc=(True, True, not flat))
    special = {
        label: (float(x), float(y), float(z)) for label, (x, y, z) in found.special_points.items()
    }
    distances, _, _ = found.get_linear_kpoint_axis()
    return KPath(found.path, np.asarray(found.kpts), special, distances)


@dataclass(frozen=True)
class BandEdges:
    """Where the bands that matter begin and end.

    Attributes:
        gap: eV; 0 for a metal.
        direct_gap: Smallest difference at one k-point, eV; 0 for a metal.
        top: Index of the k-point of the highest occupied state.
        bottom: Index of the k-point of the lowest empty one.
        top_energy: eV.
        bottom_energy: eV.
    """

    gap: float
    direct_gap: float
    top: int
    bottom: int
    top_energy: float
    bottom_energy: float

    @property
    def direct(self) -> bool:
        """Both edges are at one k-point, or at two that are equal."""
        return self.gap > 0 and self.direct_gap - self.gap <= SAME_ENERGY


def band_edges(
    eigenvalues: NDArray[np.float64], electrons: float, fermi_level: float
) -> BandEdges | None:
    """Find the edges of the occupied and of the empty bands.

    Args:
        eigenvalues: Shape (spins, k-points, bands), eV; the bands begin with the lowest.
        electrons: Valence electrons in the cell.
        fermi_level: eV; counts the bands of two spin channels.

    Returns:
        None for a metal that has no such edges, because a band is partly filled.

    Raises:
        ValueError: There is no empty band.
    """
    counts = occupied_bands(eigenvalues, electrons, fermi_level)
    if counts is None:
        return None
    return edges_between(
        np.array([eigenvalues[s, :, n - 1] for s, n in enumerate(counts) if n]).max(axis=0),
        np.array([eigenvalues[s, :, n] for s, n in enumerate(counts)]).min(axis=0),
    )


def edges_between(tops: NDArray[np.float64], bottoms: NDArray[np.float64]) -> BandEdges:
    """Find the edges of two bands.

    Args:
        tops: Highest occupied energy at each k-point, eV.
        bottoms: Lowest empty energy at each k-point, eV.
    """
    top, bottom = int(tops.argmax()), int(bottoms.argmin())
    gap = max(0.0, float(bottoms[bottom] - tops[top]))
    return BandEdges(
        gap=gap,
        direct_gap=float((bottoms - tops).min()) if gap > 0 else 0.0,
        top=top,
        bottom=bottom,
        top_energy=float(tops[top]),
        bottom_energy=float(bottoms[bottom]),
    )
