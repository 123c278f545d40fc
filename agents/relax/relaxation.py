"""Relaxation of one crystal: positions and cell, in a potential, with guards."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms, units
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE, LBFGS

from agents.geometry import is_finite, shortest_distance, too_close
from agents.relax.calculator import atoms_from_structure, structure_from_atoms

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from agents.relax.potential import Potential
    from agents.relax.settings import RelaxSettings

OPTIMIZERS = {"fire": FIRE, "lbfgs": LBFGS}


class Stop(StrEnum):
    """Why a relaxation ended."""

    CONVERGED = "converged"
    MAX_STEPS = "max_steps"
    NOT_FINITE = "not_finite"
    MIN_DISTANCE = "min_distance"
    VOLUME = "volume"
    TIME = "time"

    @property
    def blown_up(self) -> bool:
        """Whether the crystal is no crystal any more."""
        return self in (Stop.NOT_FINITE, Stop.MIN_DISTANCE, Stop.VOLUME)


@dataclass(frozen=True)
class Relaxation:
    """A relaxed crystal and how it got there.

    Attributes:
        structure: the last geometry, coordinates wrapped into the cell.
        energy: total energy of the cell, eV.
        initial_energy: total energy before the first step, eV.
        max_force: largest norm of the force on an atom of `structure`, eV/Å; from a new evaluation,
            not from the optimiser.
        max_stress: largest component of stress plus pressure, eV/Å^3.
        steps: optimiser steps.
        converged: forces and stress below the settings' criteria in that new evaluation.
        volume_ratio: relaxed over given volume.
        seconds: wall-clock time.
        stop: why it ended.
    """

    structure: Structure
    energy: float
    initial_energy: float
    max_force: float
    max_stress: float
    steps: int
    converged: bool
    volume_ratio: float
    seconds: float
    stop: Stop


def relax(structure: Structure, potential: Potential, settings: RelaxSettings) -> Relaxation:
    """Relax a crystal with FIRE or L-BFGS over positions and cell.

    The cell moves through the logarithm of its deformation (ASE's `FrechetCellFilter`). It stops
    when the raw force on every atom *and* the stress are small, not when the filter's mixture of
    both is. FIRE: Bitzek et al., doi 10.1103/PhysRevLett.97.170201.

    Args:
        structure: an ordered crystal; left unchanged.
        potential: gives energies, forces and stresses.
        settings: optimiser, criteria, pressure and guards.

    Returns:
        The relaxation. One that blew up or ran out of time is returned too, with its `stop`.

    Raises:
        UnsupportedElements: the potential does not know an element.
        ValueError: the optimiser is unknown.
    """
    if settings.optimizer not in OPTIMIZERS:
        raise ValueError(
            f"unknown optimizer {settings.optimizer!r}; known are {', '.join(OPTIMIZERS)}"
        )
    started = time.monotonic()
    start = _scan_volume(structure, potential, settings) if settings.volume_scan else structure
    atoms = atoms_from_structure(start)
    atoms.calc = potential.calculator()
    initial_energy = potential.energies([structure])[0]
    steps, stop = 0, Stop.MAX_STEPS
    for done in _optimise(atoms, settings):
        steps = done
        reason = _reason_to_stop(atoms, structure.volume, settings)
        if reason is None and time.monotonic() - started > settings.seconds_per_structure:
            reason = Stop.TIME
        if reason is not None:
            stop = reason
            break
    relaxed = structure_from_atoms(atoms)
    if stop is Stop.NOT_FINITE or not is_finite(relaxed):
        final, max_force, max_stress = np.nan, np.nan, np.nan
        stop = Stop.NOT_FINITE
    else:
        relaxed.translate_sites(range(len(relaxed)), [0, 0, 0], to_unit_cell=True)
        (result,) = potential.evaluate([relaxed])
        final, max_force = result.energy, result.max_force
        max_stress = _max_stress(result.stress, settings)
    converged = max_force <= settings.fmax and _cell_converged(max_stress, settings)
    return Relaxation(
        structure=relaxed,
        energy=float(final),
        initial_energy=float(initial_energy),
        max_force=float(max_force),
        max_stress=float(max_stress),
        steps=steps,
        converged=bool(converged),
        volume_ratio=float(relaxed.volume / structure.volume),
        seconds=time.monotonic() - started,
        stop=stop,
    )


def _optimise(atoms: Atoms, settings: RelaxSettings) -> Iterator[int]:
    """Yield the number of steps done, before the first one and after each."""
    target: Any = atoms
    if settings.relax_cell:
        target = FrechetCellFilter(atoms, scalar_pressure=settings.pressure * units.GPa)
    optimizer = OPTIMIZERS[settings.optimizer](target, logfile=None)
    # fmax=0: the optimiser's own criterion mixes cell and atoms and is never used
    for _ in optimizer.irun(fmax=0.0, steps=settings.max_steps):
        yield optimizer.nsteps


def _reason_to_stop(atoms: Atoms, volume: float, settings: RelaxSettings) -> Stop | None:
    cell, positions = atoms.cell.array, atoms.positions
    if not (np.isfinite(cell).all() and np.isfinite(positions).all()):
        return Stop.NOT_FINITE
    forces = atoms.get_forces()
    stress = atoms.get_stress(voigt=False)
    if not (np.isfinite(forces).all() and np.isfinite(stress).all()):
        return Stop.NOT_FINITE
    ratio = atoms.get_volume() / volume
    if not settings.volume_ratio_min <= ratio <= settings.volume_ratio_max:
        return Stop.VOLUME
    if too_close(shortest_distance(structure_from_atoms(atoms)), settings.min_distance):
        return Stop.MIN_DISTANCE
    max_force = np.linalg.norm(forces, axis=1).max()
    if max_force <= settings.fmax and _cell_converged(_max_stress(stress, settings), settings):
        return Stop.CONVERGED
    return None


def _max_stress(stress: np.ndarray, settings: RelaxSettings) -> float:
    return float(np.abs(stress + settings.pressure * units.GPa * np.eye(3)).max())


def _cell_converged(max_stress: float, settings: RelaxSettings) -> bool:
    return not settings.relax_cell or max_stress <= settings.stress_max * units.GPa


def _scan_volume(structure: Structure, potential: Potential, settings: RelaxSettings) -> Structure:
    """Return the crystal at the best of a few scaled volumes (lowest enthalpy, one batch)."""
    scales = sorted({1.0, *settings.volume_scan_scales})
    trials = []
    for scale in scales:
        trial = structure.copy()
        trial.scale_lattice(structure.volume * scale)
        trials.append(trial)
    energies = potential.energies(trials)
    enthalpies = energies + settings.pressure * units.GPa * np.array([t.volume for t in trials])
    return trials[int(np.nanargmin(enthalpies))]
