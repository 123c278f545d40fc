"""What the follow-up of a hit will cost with GPAW: bands, spin-orbit coupling, HSE06."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agents.verify.properties.band_path import high_symmetry_path
from agents.verify.setup.cost import (
    SECONDS_PER_COEFFICIENT,
    SECONDS_PER_STEP,
    SECONDS_START,
    is_magnetic,
    plane_waves,
)
from agents.verify.setup.presets import DFTSettings
from agents.verify.setup.symmetry import irreducible, mesh, symmetrise
from agents.verify.tasks import Task

if TYPE_CHECKING:
    from pymatgen.core import Structure

# Fitted to Si, GaAs, CdTe and CsPbI3 with the preset `fast` on one core, see docs/follow-up.md.
ITERATIONS_BANDS = 6
ITERATIONS_SPIN_ORBIT = 11
SPIN_ORBIT_BANDS = 8
SECONDS_PER_PAIR = 1.5e-4  # of states whose exchange is computed
SECONDS_PER_PAIR_AND_WAVE = 2e-7
EDGE_POINTS = 2  # k-points at which HSE06 is evaluated
EDGE_BANDS = 6  # bands there


def estimate_follow_up(
    structure: Structure,
    settings: DFTSettings,
    electrons: float,
    task: Task,
    options: Mapping[str, Any],
) -> float:
    """Estimate the seconds a task takes on one core, its density being there.

    Args:
        structure: The crystal.
        settings: Settings of the calculation.
        electrons: Valence electrons in the given cell.
        task: ``bands``, ``spin_orbit`` or ``hybrid``.
        options: Of the task, complete.

    Returns:
        Seconds; infinite where the cell is broken.
    """
    vacuum = options.get("vacuum")
    flat = vacuum is not None
    try:
        ideal = symmetrise(structure, settings.symprec, settings.max_displacement, vacuum)
    except ValueError:
        return math.inf
    cell = ideal.structure
    electrons *= len(cell) / len(structure)
    spins = 2 if is_magnetic(cell, settings) else 1
    waves = plane_waves(cell.volume, settings.cutoff)
    bands = electrons / 2 + settings.empty_bands

    def solving(points: int, extra: int, iterations: int) -> float:
        step = SECONDS_PER_STEP + SECONDS_PER_COEFFICIENT * (bands + extra) * waves
        return spins * points * iterations * step

    scf_density, gap_density = settings.k_densities(len(cell.composition))
    if task is Task.BANDS:
        points = len(high_symmetry_path(cell, float(options["density"]), flat=flat).points)
        return SECONDS_START + solving(points, 0, ITERATIONS_BANDS)
    if task is Task.SPIN_ORBIT:
        points = irreducible(cell, mesh(cell, gap_density, flat=flat), ideal.symprec)
        return SECONDS_START + solving(points, SPIN_ORBIT_BANDS, ITERATIONS_SPIN_ORBIT)
    size = mesh(cell, float(options["k_density"] or scf_density), flat=flat)
    points = irreducible(cell, size, ideal.symprec)
    pairs = spins * EDGE_POINTS * EDGE_BANDS * math.prod(size) * electrons / 2
    exchange = pairs * (SECONDS_PER_PAIR + SECONDS_PER_PAIR_AND_WAVE * waves)
    return SECONDS_START + solving(points, 0, ITERATIONS_BANDS) + exchange
