"""What a calculation will cost, from plane waves, bands, k-points and spin."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agents.verify.setup.presets import DFTSettings
from agents.verify.setup.symmetry import has_moments, irreducible, mesh, symmetrise
from agents.verify.tasks import Task, options_of

if TYPE_CHECKING:
    from pymatgen.core import Structure

BOHR = 0.529177210903
HARTREE = 27.211386245988

# Measured with `standard` on one busy core, see docs/dft.md; `benchmarks/dft.py cost` compares.
SECONDS_START = 1.5
SECONDS_PER_STEP = 1.5e-3
SECONDS_PER_COEFFICIENT = 1.2e-6
GAP_SHARE = 0.7  # the denser mesh needs fewer iterations, for fewer bands
ITERATIONS = 10
ITERATIONS_ELEMENT = 9
ITERATIONS_MAGNETIC = 16
RELAX_STEPS = 6  # of a crystal that a potential has relaxed before
ITERATIONS_MOVED = 6  # the density of the step before is a good start
SECONDS_GAP_TASK = 0.5  # reading the density


def estimate(
    structure: Structure,
    settings: DFTSettings,
    electrons: float,
    task: Task = Task.STATIC,
    options: Mapping[str, Any] | None = None,
) -> float:
    """Estimate the seconds one calculation takes on one core.

    Args:
        structure: Crystal, or molecule in a box (recognised by its empty volume).
        settings: Settings of the calculation.
        electrons: Valence electrons in the given cell.
        task: ``static``, ``gap`` or ``relax``.
        options: Of the task.

    Returns:
        Seconds; infinite where the cell is broken.
    """
    complete = options_of(task, options)
    vacuum = complete.get("vacuum")
    if vacuum is None and is_in_vacuum(structure):
        return SECONDS_START + ITERATIONS * _step(structure, settings, electrons, 1, spins=2)
    try:
        ideal = symmetrise(structure, settings.symprec, settings.max_displacement, vacuum)
    except ValueError:
        return math.inf
    cell = ideal.structure
    electrons *= len(cell) / len(structure)
    spins = 2 if is_magnetic(cell, settings) else 1
    iterations = ITERATIONS_ELEMENT if len(cell.composition) == 1 else ITERATIONS
    if spins == 2:
        iterations = ITERATIONS_MAGNETIC
    scf_points, gap_points = (
        irreducible(cell, mesh(cell, density, flat=vacuum is not None), ideal.symprec)
        for density in settings.k_densities(len(cell.composition))
    )
    if task is Task.RELAX:
        raised = settings.model_copy(update={"cutoff": max(settings.cutoff, settings.relax_cutoff)})
        step = _step(cell, raised, electrons, scf_points, spins)
        return SECONDS_START + (iterations + RELAX_STEPS * ITERATIONS_MOVED) * step
    scf = iterations * _step(cell, settings, electrons, scf_points, spins)
    gap = iterations * GAP_SHARE * _step(cell, settings, electrons, gap_points, spins)
    if task is Task.GAP:
        return SECONDS_START + SECONDS_GAP_TASK + gap * (not is_metallic(cell))
    return SECONDS_START + scf + gap * (complete["gap"] and not is_metallic(cell))


def is_magnetic(cell: Structure, settings: DFTSettings) -> bool:
    """Say whether a cell is treated spin-polarised."""
    return has_moments(cell) or any(
        site.specie.symbol in settings.magnetic_moments for site in cell
    )


def is_metallic(cell: Structure) -> bool:
    """Say whether only metals are in a cell, so that no gap is looked for on a denser mesh."""
    return all(site.specie.is_metal for site in cell)


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


def _step(
    cell: Structure, settings: DFTSettings, electrons: float, points: int, spins: int
) -> float:
    """Return the seconds of one SCF iteration."""
    bands = electrons / 2 + settings.empty_bands
    coefficients = bands * plane_waves(cell.volume, settings.cutoff)
    return points * spins * (SECONDS_PER_STEP + SECONDS_PER_COEFFICIENT * coefficients)
