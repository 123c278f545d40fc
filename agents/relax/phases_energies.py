"""Energies of reference crystals: as they are in the collection, or relaxed like a candidate."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from agents.relax.batch import CRYSTAL_ERRORS, relaxations
from agents.relax.phases import Geometry, criterion
from agents.relax.phases_store import Entry, PhaseEnergy, PhaseStore
from agents.relax.relaxation import Relaxation
from agents.relax.settings import RelaxSettings

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from agents.relax.potential import Potential

#: Crystals whose single points are computed between two writes to the store.
BATCH = 64


class PhaseEnergies:
    """Computes energies with one potential and stores them at once, failures included."""

    def __init__(self, potential: Potential, store: PhaseStore, settings: RelaxSettings) -> None:
        """Take potential, store and the settings of relaxations."""
        self.potential = potential
        self.store = store
        self.settings = settings

    def criterion(self, geometry: Geometry) -> str:
        """Write down how the geometries of its energies are obtained."""
        return criterion(geometry, self.settings.relaxation_record())

    def known(self, entries: Sequence[Entry], geometry: Geometry) -> dict[str, PhaseEnergy]:
        """Return what is stored of some crystals, by id."""
        ids = [entry.id for entry in entries]
        return self.store.energies(ids, self.potential.level, self.criterion(geometry))

    def single_points(self, entries: Sequence[Entry]) -> Iterator[list[PhaseEnergy]]:
        """Compute and store single points, crystals of like size together.

        Yields:
            The energies of one batch, once they are stored.
        """
        ordered = sorted(entries, key=lambda entry: (entry.n_atoms, entry.id))
        for start in range(0, len(ordered), BATCH):
            some = ordered[start : start + BATCH]
            structures = self.store.structures([entry.id for entry in some])
            energies = self._energies(structures)
            self.store.add(energies)
            yield energies

    def _energies(self, structures: dict[str, Structure]) -> list[PhaseEnergy]:
        """Compute one batch; where it fails, its crystals one by one."""
        started = time.monotonic()
        try:
            totals = self.potential.energies(list(structures.values()))
        except CRYSTAL_ERRORS as error:
            if len(structures) == 1:
                (name,) = structures
                return [self._failed(name, Geometry.SINGLE_POINT, error)]
            return [
                one for name, alone in structures.items() for one in self._energies({name: alone})
            ]
        seconds = (time.monotonic() - started) / len(structures)
        how = self.criterion(Geometry.SINGLE_POINT)
        return [
            PhaseEnergy(
                name,
                self.potential.level,
                how,
                float(total) / len(structure) if math.isfinite(total) else None,
                error=None if math.isfinite(total) else "the energy is not finite",
                seconds=seconds,
            )
            for (name, structure), total in zip(structures.items(), totals)
        ]

    def relax(self, entries: Sequence[Entry]) -> Iterator[PhaseEnergy]:
        """Relax crystals together, with the criterion of the candidates.

        Yields:
            The energy of each, once it is stored.
        """
        structures = self.store.structures([entry.id for entry in entries])
        names = list(structures)
        outcomes = relaxations(list(structures.values()), self.potential, self.settings)
        for index, outcome in outcomes:
            if isinstance(outcome, Exception):
                energy = self._failed(names[index], Geometry.RELAXED, outcome)
            else:
                energy = self._judged(names[index], outcome)
            self.store.add([energy])
            yield energy

    def _judged(self, name: str, relaxation: Relaxation) -> PhaseEnergy:
        """Accept what has small forces and stress, as for candidates."""
        from ase import units

        settings = self.settings
        small = relaxation.max_force < settings.accept_max_force and (
            not settings.relax_cell
            or relaxation.max_stress < settings.accept_max_stress * units.GPa
        )
        usable = small and not relaxation.stop.blown_up
        return PhaseEnergy(
            name,
            self.potential.level,
            self.criterion(Geometry.RELAXED),
            relaxation.energy / len(relaxation.structure) if usable else None,
            error=None if usable else f"its relaxation ended with {relaxation.stop}",
            steps=relaxation.steps,
            max_force=relaxation.max_force if math.isfinite(relaxation.max_force) else None,
            max_stress=relaxation.max_stress if math.isfinite(relaxation.max_stress) else None,
            seconds=relaxation.seconds,
        )

    def _failed(self, name: str, geometry: Geometry, error: Exception) -> PhaseEnergy:
        words = f"{type(error).__name__}: {error}"
        return PhaseEnergy(name, self.potential.level, self.criterion(geometry), None, error=words)
