"""What a calculation will cost, from plane waves, bands, k-points and spin."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from agents.verify.presets import DFTSettings
from agents.verify.symmetry import irreducible, mesh, symmetrise

if TYPE_CHECKING:
    from pymatgen.core import Structure

BOHR = 0.529177210903
HARTREE = 27.211386245988

# Fitted to 17 five-atom perovskites with the preset `fast` on one core (15 to 29 bands, 20 to 260
# k-points): 0.8 to 1.1 microseconds for each coefficient, k-point, spin and SCF iteration.
SECONDS_START = 1.0
SECONDS_PER_STEP = 1.5e-3
SECONDS_PER_COEFFICIENT = 8.5e-7
GAP_SHARE = 0.7  # the denser mesh needs fewer iterations, and only where there is a gap
ITERATIONS = 11
ITERATIONS_ELEMENT = 7
ITERATIONS_MAGNETIC = 18


def estimate(structure: Structure, settings: DFTSettings, electrons: float) -> float:
    """Estimate the seconds one calculation takes on one core.

    Args:
        structure: Crystal, or molecule in a box (recognised by its empty volume).
        settings: Settings of the calculation.
        electrons: Valence electrons in the given cell.

    Returns:
        Seconds, the mesh that confirms the gap included; infinite where the cell is broken.
    """
    if is_in_vacuum(structure):
        return _steps(structure, settings, electrons, 1)
    try:
        ideal = symmetrise(structure, settings.symprec, settings.max_displacement)
    except ValueError:
        return math.inf
    cell = ideal.structure
    electrons *= len(cell) / len(structure)
    seconds = 0.0
    densities = settings.k_densities(len(cell.composition))
    for density, share in zip(densities, (1.0, GAP_SHARE), strict=True):
        size = mesh(cell, density)
        points = irreducible(cell, size, ideal.symprec)
        seconds += share * _steps(cell, settings, electrons, points)
    return seconds


def is_in_vacuum(structure: Structure) -> bool:
    """Say whether the cell is mostly empty, as the boxes of molecules are."""
    return bool(structure.volume / len(structure) > 150.0)


def plane_waves(volume: float, cutoff: float) -> float:
    """Count the plane waves below a cut-off: V k_max^3 / (6 π^2).

    Args:
        volume: Å^3.
        cutoff: eV.
    """
    return volume / BOHR**3 * (2 * cutoff / HARTREE) ** 1.5 / (6 * math.pi**2)


def _steps(cell: Structure, settings: DFTSettings, electrons: float, points: int) -> float:
    magnetic = any(site.specie.symbol in settings.magnetic_moments for site in cell)
    bands = electrons / 2 + settings.empty_bands
    coefficients = bands * plane_waves(cell.volume, settings.cutoff)
    step = SECONDS_PER_STEP + SECONDS_PER_COEFFICIENT * coefficients
    iterations = ITERATIONS_ELEMENT if len(cell.composition) == 1 else ITERATIONS
    if magnetic:
        iterations = ITERATIONS_MAGNETIC
    return SECONDS_START + points * (2 if magnetic else 1) * iterations * step
