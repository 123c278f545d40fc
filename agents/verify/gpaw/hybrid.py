"""The HSE06 gap on the PBE density, with GPAW: eigenvalues of first order, not self-consistent."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.verify.gpaw.bands import starting_density
from agents.verify.gpaw.ground_state import is_flat
from agents.verify.properties.band_path import BandEdges, edges_between
from agents.verify.properties.gap import occupied_bands
from agents.verify.setup.symmetry import mesh
from agents.verify.tasks import TaskInput

FUNCTIONAL = "HSE06"
VALENCE_BANDS = 4
EMPTY_BANDS = 2
"""Bands on each side of the gap whose shifts are computed: they may change their order."""


def hybrid(task: TaskInput) -> dict[str, Any]:
    """Compute the HSE06 gap (doi 10.1063/1.2404663) from PBE's states.

    The shifts of the bands around the gap are computed at the k-points of PBE's band edges and of
    its smallest direct gap; that the edges stay there is assumed. A crystal that is a metal in PBE
    has none: its states would be filled wrongly.

    Args:
        task: Options: ``k_density``, points per Å^-1 of the mesh of exact exchange; None: that of
            the self-consistent mesh.

    Returns:
        Plain JSON values, eV: ``band_gap_hybrid`` and ``band_gap`` (PBE, the same k-points),
        ``shift`` (the first less the second), ``direct_gap_hybrid``, ``direct``, ``k_size``,
        ``edges_at`` (k-points), ``functional``; ``refused`` instead where PBE has no gap.

    Raises:
        NotConverged: The density was gone and could not be computed again.
    """
    calculator, cell, record = starting_density(task)
    settings = task.settings
    density = task.options["k_density"] or settings.k_densities(len(cell.composition))[0]
    size = mesh(cell, float(density), flat=is_flat(task))
    record |= {"functional": FUNCTIONAL, "k_size": list(size)}
    solved = calculator.fixed_density(
        kpts={"size": size, "gamma": True},
        nbands=-(settings.empty_bands + EMPTY_BANDS),
        convergence={
            "bands": -settings.empty_bands,
            "eigenstates": settings.eigenstates_tolerance,
        },
        txt="hybrid.txt",
    )
    eigenvalues = np.asarray(solved.eigenvalues())
    fermi_level = float(calculator.get_fermi_level())
    counts = occupied_bands(eigenvalues, record["valence_electrons"], fermi_level)
    plain = None if counts is None else _edges(eigenvalues, counts)
    if counts is None or plain is None or plain.gap <= 0:
        return record | {"refused": "PBE has no gap on this mesh", "is_metal": True}
    chosen = _points(eigenvalues, counts)
    first = max(0, min(counts) - VALENCE_BANDS)
    shifted = _shifted(solved, first, max(counts) + EMPTY_BANDS, chosen)
    pbe = _edges(eigenvalues[:, chosen, first:], [n - first for n in counts])
    hse = _edges(shifted, [n - first for n in counts])
    points = np.asarray(solved.get_ibz_k_points())
    return record | {
        "band_gap": pbe.gap,
        "band_gap_hybrid": hse.gap,
        "shift": hse.gap - pbe.gap,
        "direct_gap_hybrid": hse.direct_gap,
        "direct": hse.direct,
        "is_metal": hse.gap <= 0,
        "edges_at": points[chosen].round(6).tolist(),
    }


def _shifted(solved: Any, first: int, last: int, points: list[int]) -> NDArray[np.float64]:
    """Return HSE06 eigenvalues, shape (spins, k-points, bands), eV, in the order of PBE."""
    from gpaw.hybrids.eigenvalues import non_self_consistent_eigenvalues

    plain, removed, added = non_self_consistent_eigenvalues(
        solved, FUNCTIONAL, n1=first, n2=last, kpt_indices=points
    )
    return np.asarray(plain) - np.asarray(removed) + np.asarray(added)


def _points(eigenvalues: NDArray[np.float64], counts: list[int]) -> list[int]:
    """Return the k-points of the band edges and of the smallest direct gap."""
    tops, bottoms = _tops_and_bottoms(eigenvalues, counts)
    direct = int((bottoms - tops).argmin())
    return sorted({int(tops.argmax()), int(bottoms.argmin()), direct})


def _edges(eigenvalues: NDArray[np.float64], counts: list[int]) -> BandEdges:
    return edges_between(*_tops_and_bottoms(eigenvalues, counts))


def _tops_and_bottoms(
    eigenvalues: NDArray[np.float64], counts: list[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the highest occupied and the lowest empty energy at each k-point.

    The occupied bands are the lowest ``counts`` of each spin as PBE orders them; a hybrid may
    reorder them among themselves.
    """
    tops = [eigenvalues[s, :, :n].max(axis=1) for s, n in enumerate(counts) if n > 0]
    bottoms = [eigenvalues[s, :, n:].min(axis=1) for s, n in enumerate(counts)]
    return np.array(tops).max(axis=0), np.array(bottoms).min(axis=0)
