"""The gap with spin-orbit coupling, with GPAW: added to finished bands, not self-consistent."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.verify.gpaw.bands import starting_density
from agents.verify.gpaw.ground_state import is_flat
from agents.verify.properties.band_path import BandEdges, band_edges, edges_between
from agents.verify.setup.symmetry import mesh
from agents.verify.tasks import TaskInput

EXTRA_BANDS = 8
"""Converged bands above the occupied ones: coupling mixes a band edge with the states around it."""


def spin_orbit(task: TaskInput) -> dict[str, Any]:
    """Add spin-orbit coupling to the bands on the mesh that confirms gaps.

    Its matrix elements come from the potential inside the PAW spheres, with the scalar-relativistic
    states as the basis (doi 10.1103/PhysRevB.94.235106). Spins of a magnetic crystal lie along z.

    Args:
        task: No options.

    Returns:
        Plain JSON values, eV: ``band_gap_spin_orbit`` and ``band_gap`` (without, the same mesh),
        ``shift`` (the first less the second), ``direct_gap_spin_orbit``, ``direct``, ``top`` and
        ``bottom`` (k-points of the edges with coupling), ``k_size``.

    Raises:
        NotConverged: The density was gone and could not be computed again.
    """
    from gpaw.spinorbit import soc_eigenstates

    calculator, cell, record = starting_density(task)
    settings = task.settings
    _, density = settings.k_densities(len(cell.composition))
    size = mesh(cell, density, flat=is_flat(task))
    solved = calculator.fixed_density(
        kpts={"size": size, "gamma": True},
        nbands=-(settings.empty_bands + EXTRA_BANDS),
        convergence={
            "bands": -settings.empty_bands,
            "eigenstates": settings.eigenstates_tolerance,
        },
        txt="spin-orbit.txt",
    )
    electrons = record["valence_electrons"]
    plain = band_edges(
        np.asarray(solved.eigenvalues()), electrons, float(calculator.get_fermi_level())
    )
    coupled = spinor_edges(np.asarray(soc_eigenstates(solved).eigenvalues()), electrons)
    gap = 0.0 if plain is None else plain.gap
    coupled_gap = 0.0 if coupled is None else coupled.gap
    points = np.asarray(solved.get_bz_k_points())
    return record | {
        "k_size": list(size),
        "band_gap": gap,
        "band_gap_spin_orbit": coupled_gap,
        "shift": coupled_gap - gap,
        "direct_gap_spin_orbit": 0.0 if coupled is None else coupled.direct_gap,
        "direct": coupled is not None and coupled.direct,
        "is_metal": coupled_gap <= 0,
        "top": None if coupled is None else points[coupled.top].round(6).tolist(),
        "bottom": None if coupled is None else points[coupled.bottom].round(6).tolist(),
    }


def spinor_edges(eigenvalues: NDArray[np.float64], electrons: float) -> BandEdges | None:
    """Find the band edges of spinors, each of which holds one electron.

    Args:
        eigenvalues: Shape (k-points, bands), eV.
        electrons: Valence electrons in the cell.

    Returns:
        None where a band is partly filled for want of a whole number of electrons.
    """
    occupied = round(electrons)
    if abs(electrons - occupied) > 1e-3:
        return None
    return edges_between(eigenvalues[:, occupied - 1], eigenvalues[:, occupied])
