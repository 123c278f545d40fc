"""Band gap from eigenvalues on a mesh, by counting occupied bands; checked by occupations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BandGap:
    """The fundamental gap of one set of eigenvalues.

    Attributes:
        gap: Smallest excitation energy, eV; 0 where bands overlap (a metal).
        direct: Both band edges lie at the same k-point; False for metals.
        occupied_bands: Highest number of occupied bands of a spin channel.
    """

    gap: float
    direct: bool
    occupied_bands: int


def band_gap(
    eigenvalues: NDArray[np.float64], electrons: float, fermi_level: float, tolerance: float = 1e-6
) -> BandGap:
    """Find the gap between the occupied and the empty bands.

    Without spin the number of occupied bands follows from the number of electrons, whatever the
    smearing did; with spin from the Fermi level, and a band that crosses it makes a metal.

    Args:
        eigenvalues: Shape (spins, k-points, bands), eV.
        electrons: Valence electrons in the cell.
        fermi_level: eV.
        tolerance: A smaller gap counts as none, eV.

    Returns:
        The gap over all spins and k-points.

    Raises:
        ValueError: There is no empty band.
    """
    counts = occupied_bands(eigenvalues, electrons, fermi_level)
    if counts is None:
        highest = (
            int(np.ceil(electrons / 2))
            if len(eigenvalues) == 1
            else int((eigenvalues < fermi_level).sum(axis=2).max())
        )
        return BandGap(0.0, False, highest)
    tops = [(eigenvalues[s, :, n - 1], s) for s, n in enumerate(counts) if n > 0]
    bottoms = [(eigenvalues[s, :, n], s) for s, n in enumerate(counts)]
    top, top_k = max((float(edge.max()), int(edge.argmax())) for edge, _ in tops)
    bottom, bottom_k = min((float(edge.min()), int(edge.argmin())) for edge, _ in bottoms)
    gap = bottom - top
    if gap <= tolerance:
        return BandGap(0.0, False, max(counts))
    return BandGap(gap, top_k == bottom_k, max(counts))


def occupied_bands(
    eigenvalues: NDArray[np.float64], electrons: float, fermi_level: float
) -> list[int] | None:
    """Count the occupied bands of each spin channel.

    Args:
        eigenvalues: Shape (spins, k-points, bands), eV.
        electrons: Valence electrons in the cell.
        fermi_level: eV.

    Returns:
        None for a metal: a band is partly filled.

    Raises:
        ValueError: There is no empty band.
    """
    spins, _, bands = eigenvalues.shape
    if spins == 1:
        if abs(electrons / 2 - round(electrons / 2)) > 1e-3:
            return None
        counts = [round(electrons / 2)]
    else:
        occupied = (eigenvalues < fermi_level).sum(axis=2)
        if any(len(np.unique(channel)) > 1 for channel in occupied):
            return None
        counts = [int(channel[0]) for channel in occupied]
        if abs(sum(counts) - electrons) > 1e-3:
            return None
    if max(counts) >= bands:
        raise ValueError(f"{bands} bands hold no empty one above {max(counts)} occupied: add bands")
    return counts


@dataclass(frozen=True)
class Occupations:
    """What the occupation numbers say about a gap that was found by counting bands.

    Attributes:
        gap: Lowest state less than half full minus highest state more than half full, eV; in a
            metal the spacing of the levels on the mesh, or negative where one k-point overlaps
            another.
        electrons: Electrons that the occupations hold on this mesh.
        consistent: For an insulator: this gap is the counted one, and no electron is lost, or is
            added by smearing on the denser mesh. For a metal: no electron is lost.
    """

    gap: float
    electrons: float
    consistent: bool


GAP_TOLERANCE = 1e-3
"""Gaps that agree, eV."""

ELECTRON_TOLERANCE = 0.02
"""Electrons that may be missing for each cell: thermal ones in a small gap at 0.05 eV smearing."""


def check_occupations(
    found: BandGap,
    eigenvalues: NDArray[np.float64],
    occupations: NDArray[np.float64],
    weights: NDArray[np.float64],
    electrons: float,
) -> Occupations:
    """Cross-check a gap: the states' occupations know the Fermi level, not the number of bands.

    A miscounted electron or band, a Fermi level inside a band, or a density that does not belong to
    the eigenvalues make the two disagree.

    Args:
        found: The gap by counting.
        eigenvalues: Shape (spins, k-points, bands), eV.
        occupations: Same shape, from 0 to 1.
        weights: Shape (k-points,), sum 1.
        electrons: Valence electrons in the cell.
    """
    per_state = 2.0 / len(eigenvalues)
    held = per_state * float(np.einsum("skn,k->", occupations, weights))
    full = occupations > 0.5
    gap = float(eigenvalues[~full].min() - eigenvalues[full].max())
    kept = abs(held - electrons) <= ELECTRON_TOLERANCE
    agrees = abs(gap - found.gap) <= GAP_TOLERANCE if found.gap > 0 else True
    return Occupations(gap, held, bool(kept and agrees))
