"""Relaxation of one crystal: positions and cell, in a potential, with guards.

The course of a relaxation is a coroutine: it asks for energies or forces of crystals and is sent
the answers. `agents.relax.batch` runs many courses at once and asks the potential for all of them
together; a course knows nothing of the others.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import units
from pymatgen.core import Lattice, Structure

from agents.relax import fire, trust_region
from agents.relax.cell_coordinates import CellCoordinates
from agents.relax.core_repulsion import repulsion
from agents.relax.neighbours import bonds_within
from agents.slab import MATCHING_VACUUM, is_slab_like, layer_volume, with_vacuum

if TYPE_CHECKING:
    from agents.relax.potential import PotentialResult
    from agents.relax.settings import RelaxSettings

#: Each has `init(crystal, positions) -> state`, `step(state, enthalpy, gradient) -> state` and
#: `shorten(state) -> state | None`, asked where the state's geometry is no crystal.
OPTIMIZERS: dict[str, ModuleType] = {"fire": fire, "trust_region": trust_region}


#: Steps that overlapping atoms are given to separate, and the energy at which they have, eV/atom.
SEPARATION_STEPS = 60
SEPARATED = 1e-3


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
        structure: the last geometry, or of all that were evaluated the one of lowest enthalpy
            where steps or time ran out; coordinates wrapped into the cell.
        energy: total energy of the cell, eV; not a number when it blew up.
        initial_energy: total energy before the first step, eV.
        max_force: largest norm of the force on an atom of `structure`, eV/Å; from a new evaluation,
            not from the optimiser.
        max_stress: largest component of stress plus pressure, eV/Å^3; of a slab, of the stress in
            its plane, per volume of the layer (`agents.slab.layer_volume`).
        steps: optimiser steps.
        converged: forces and stress below the settings' criteria in that new evaluation.
        volume_ratio: relaxed over given volume; of a slab, the areas.
        seconds: its share of the wall-clock time of its batch.
        stop: why it ended.
        force_calls: how often the potential was asked about this crystal: every step, the last
            evaluation, and each volume of a scan (energies only) count one.
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
    force_calls: int

    def numbers(self) -> dict[str, Any]:
        """Return everything but the structure as plain JSON values; None where not finite."""
        return {
            "energy": finite_or_none(self.energy),
            "initial_energy": finite_or_none(self.initial_energy),
            "max_force": finite_or_none(self.max_force),
            "max_stress": finite_or_none(self.max_stress),
            "steps": self.steps,
            "force_calls": self.force_calls,
            "converged": self.converged,
            "stop": str(self.stop),
            "volume_ratio": finite_or_none(self.volume_ratio),
            "seconds": self.seconds,
        }


def finite_or_none(value: float) -> float | None:
    """Return a plain number, or None where it is not finite (JSON has no NaN)."""
    return float(value) if math.isfinite(value) else None


@dataclass(frozen=True)
class Ask:
    """What a course wants to know next.

    Attributes:
        structures: about these crystals.
        energies_only: whether their energies are enough.
    """

    structures: Sequence[Structure]
    energies_only: bool = False


@dataclass(frozen=True)
class Answer:
    """What a course is told.

    Attributes:
        energies: one per crystal asked about, eV per cell.
        results: the same with forces and stresses; empty where only energies were asked for.
    """

    energies: np.ndarray
    results: Sequence[PotentialResult]


@dataclass
class Clock:
    """The wall-clock time that a course has cost so far, kept by whoever runs it, seconds."""

    seconds: float = 0.0


def course(
    structure: Structure, settings: RelaxSettings, clock: Clock
) -> Generator[Ask, Answer, Relaxation]:
    """Relax one crystal over positions and cell.

    The cell moves through the logarithm of its deformation. The crystal is relaxed when the raw
    force on every atom *and* the stress are small, not when a mixture of both is. A geometry that
    is no crystal any more is never shown to the potential. Atoms that overlap are pushed apart
    (`agents.relax.core_repulsion`); energies, forces and stresses of the result, and those that
    decide whether it has converged, are the potential's alone.

    With ``settings.in_plane`` the crystal is a slab: it gets the vacuum of all slabs before and
    after (`agents.slab.with_vacuum`), only the cell's strain in the plane moves, and only the
    stress in the plane has to vanish.

    Args:
        structure: an ordered crystal; left unchanged.
        settings: optimiser, criteria, pressure and guards.
        clock: read after every answer, for the limit on time.

    Yields:
        What it wants to know; it is sent an `Answer`.

    Returns:
        The relaxation. One that blew up or ran out of time is returned too, with its `stop`.
    """
    if settings.in_plane:
        structure = with_vacuum(structure, MATCHING_VACUUM)
    numbers = np.array([site.specie.Z for site in structure])
    given = _size(structure.lattice.matrix, settings)
    calls, initial_energy = 0, np.nan
    start = _separated(structure, numbers, settings)
    if settings.volume_scan:
        trials = scaled(start, settings.volume_scan_scales)
        if settings.in_plane and is_slab_like(start):
            trials = {scale: _scaled_slab(start, scale) for scale in trials}
        answer = yield Ask(list(trials.values()), energies_only=True)
        calls = len(trials)
        if start is structure:
            initial_energy = float(answer.energies[list(trials).index(1.0)])
        start = _lowest(list(trials.values()), answer.energies, settings)
    optimizer = OPTIMIZERS[settings.optimizer]
    if np.isnan(initial_energy) and start is not structure:
        answer = yield Ask([structure], energies_only=True)
        calls += 1
        initial_energy = float(answer.energies[0])
    coordinates = CellCoordinates(
        start.lattice.matrix,
        numbers,
        settings.pressure * units.GPa,
        settings.relax_cell,
        settings.in_plane,
    )
    state = optimizer.init(coordinates, start.cart_coords)
    last, best, lowest, stop = start, start, np.inf, Stop.MAX_STEPS
    for steps in range(settings.max_steps + 1):
        cell, positions = coordinates.geometry(state.coordinates)
        while reason := _broken(cell, positions, given, settings):
            shorter = optimizer.shorten(state)
            if shorter is None:
                break
            state = shorter
            cell, positions = coordinates.geometry(state.coordinates)
        if reason:
            stop = reason
            if reason is not Stop.NOT_FINITE:
                last = _structure(start, cell, positions)
            break
        last = _structure(start, cell, positions) if steps else start
        answer = yield Ask([last])
        (result,) = answer.results
        calls += 1
        if not steps and start is structure:
            initial_energy = result.energy
        if not result.finite:
            stop = Stop.NOT_FINITE
            break
        core = repulsion(numbers, cell, positions)
        enthalpy = coordinates.enthalpy(result.energy + core.energy, cell)
        if enthalpy < lowest:
            best, lowest = last, enthalpy
        if _converged(result.max_force, _max_stress(result.stress, last, settings), settings):
            stop = Stop.CONVERGED
            break
        if clock.seconds > settings.seconds_per_structure:
            stop = Stop.TIME
            break
        if steps < settings.max_steps:
            forces, stress = result.forces + core.forces, result.stress + core.stress
            gradient = coordinates.gradient(state.coordinates, forces, stress)
            state = optimizer.step(state, enthalpy, gradient)
    if stop in (Stop.MAX_STEPS, Stop.TIME):
        last = best
    final, max_force, max_stress = np.nan, np.nan, np.nan
    volume_ratio = _size(last.lattice.matrix, settings) / given
    if not stop.blown_up:
        if settings.in_plane and is_slab_like(last):
            last = with_vacuum(last, MATCHING_VACUUM)
        last = last.copy()
        last.translate_sites(range(len(last)), [0, 0, 0], to_unit_cell=True)
        answer = yield Ask([last])
        (result,) = answer.results
        calls += 1
        final, max_force = result.energy, result.max_force
        max_stress = _max_stress(result.stress, last, settings)
    return Relaxation(
        structure=last,
        energy=float(final),
        initial_energy=float(initial_energy),
        max_force=float(max_force),
        max_stress=float(max_stress),
        steps=steps,
        converged=_converged(max_force, max_stress, settings),
        volume_ratio=volume_ratio,
        seconds=clock.seconds,
        stop=stop,
        force_calls=calls,
    )


def _separated(structure: Structure, numbers: np.ndarray, settings: RelaxSettings) -> Structure:
    """Return a crystal whose atoms no longer overlap, or the one given where none did.

    It is relaxed in the repulsion of the overlaps alone, without a question to the potential.
    """
    cell, positions = structure.lattice.matrix, structure.cart_coords
    core = repulsion(numbers, cell, positions)
    if core.energy < SEPARATED * len(numbers):
        return structure
    crystal = CellCoordinates(cell, numbers, 0.0, settings.relax_cell, settings.in_plane)
    state = trust_region.init(crystal, positions)
    for _ in range(SEPARATION_STEPS):
        gradient = crystal.gradient(state.coordinates, core.forces, core.stress)
        state = trust_region.step(state, core.energy, gradient)
        cell, positions = crystal.geometry(state.coordinates)
        core = repulsion(numbers, cell, positions)
        if core.energy < SEPARATED * len(numbers):
            break
    return _structure(structure, cell, positions)


def scaled(structure: Structure, scales: Sequence[float]) -> dict[float, Structure]:
    """Return the crystal at several volumes, its own among them, by ascending factor."""
    trials = {}
    for scale in sorted({1.0, *scales}):
        trials[scale] = structure.copy()
        trials[scale].scale_lattice(structure.volume * scale)
    return trials


def _scaled_slab(slab: Structure, scale: float) -> Structure:
    """Scale a layer as a crystal's volume would be, and give it the vacuum of all slabs.

    Its vacuum is wide enough to stay one however much it is scaled.
    """
    length = scale ** (1 / 3)
    wide = with_vacuum(slab, MATCHING_VACUUM / min(1.0, length))
    wide.scale_lattice(wide.volume * scale)
    return with_vacuum(wide, MATCHING_VACUUM)


def _size(cell: np.ndarray, settings: RelaxSettings) -> float:
    """Return the volume of a cell, Å^3; of a slab the area in its plane, Å^2."""
    if settings.in_plane:
        return float(np.linalg.norm(np.cross(cell[0], cell[1])))
    return abs(float(np.linalg.det(cell)))


def _lowest(
    trials: Sequence[Structure], energies: np.ndarray, settings: RelaxSettings
) -> Structure:
    """Return the crystal of lowest enthalpy; the first one where no energy is a number."""
    pressure = settings.pressure * units.GPa
    enthalpies = energies + pressure * np.array([t.volume for t in trials])
    return trials[int(np.argmin(np.where(np.isfinite(enthalpies), enthalpies, np.inf)))]


def _structure(like: Structure, cell: np.ndarray, positions: np.ndarray) -> Structure:
    return Structure(Lattice(cell), like.species, positions, coords_are_cartesian=True)


def _broken(
    cell: np.ndarray, positions: np.ndarray, given: float, settings: RelaxSettings
) -> Stop | None:
    """Return why a geometry is no crystal any more, or None; ``given`` is the first `_size`."""
    if not (np.isfinite(cell).all() and np.isfinite(positions).all()):
        return Stop.NOT_FINITE
    ratio = _size(cell, settings) / given
    if not settings.volume_ratio_min <= ratio <= settings.volume_ratio_max:
        return Stop.VOLUME
    fractional = positions @ np.linalg.inv(cell)
    first, _, _ = bonds_within(cell, fractional, settings.min_distance)
    return Stop.MIN_DISTANCE if len(first) else None


def _max_stress(stress: np.ndarray, structure: Structure, settings: RelaxSettings) -> float:
    if settings.in_plane:
        share = layer_volume(structure) / structure.volume  # the vacuum dilutes the stress
        return float(np.abs(stress[:2, :2]).max() / share)
    return float(np.abs(stress + settings.pressure * units.GPa * np.eye(3)).max())


def _converged(max_force: float, max_stress: float, settings: RelaxSettings) -> bool:
    cell = not settings.relax_cell or max_stress <= settings.stress_max * units.GPa
    return bool(max_force <= settings.fmax and cell)
