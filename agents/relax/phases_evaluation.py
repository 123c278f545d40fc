"""Evaluating competing phases with a potential: single points of all, relaxation of few."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from agents.relax.hull import Hull
from agents.relax.hull_settings import HullSettings
from agents.relax.phases import (
    Geometry,
    IncompleteHull,
    Level,
    Phase,
    Phases,
    TooManyPhases,
    elements_of,
    subsystems,
)
from agents.relax.phases_energies import PhaseEnergies
from agents.relax.phases_store import Entry, PhaseEnergy, PhaseStore
from agents.relax.references import ElementalReferences, ReferenceMismatch
from agents.relax.settings import RelaxSettings

if TYPE_CHECKING:
    from pymatgen.core import Composition

    from agents.relax.potential import Potential


class CompetingPhases(Phases):
    """Phases of a store, evaluated with one potential where they are not yet.

    All crystals of a chemical system and its subsystems compete. Their single points are computed
    in batches. For a hull of relaxed crystals only those are relaxed that can be on it: relaxing
    lowers a phase by at most ``margin``, so one that is further than that above the hull of single
    points stays above.

    Attributes:
        level: Level of the phases it returns.
        store: Where crystals and energies are kept.
    """

    def __init__(
        self,
        potential: Potential,
        references: ElementalReferences,
        store: PhaseStore,
        *,
        relax: RelaxSettings,
        hull: HullSettings,
        geometry: Geometry = Geometry.RELAXED,
        compute: bool = True,
    ) -> None:
        """Take potential, references and store.

        Args:
            potential: Evaluates the phases.
            references: Its own elemental references.
            store: Crystals and energies.
            relax: Settings of the candidates' relaxation; the phases' criterion is the same.
            hull: Margin and limits.
            geometry: Whether phases are compared as they are in the collection or relaxed.
            compute: Whether missing energies may be computed; if not, they are missed.

        Raises:
            ReferenceMismatch: The references belong to another potential, or pressure is not zero.
        """
        references.require(potential)
        if relax.pressure != 0:
            raise ReferenceMismatch(
                f"the hull is one of energies at zero pressure, but relax.pressure is "
                f"{relax.pressure:g} GPa: switch the hull off"
            )
        self.potential = potential
        self.references = references
        self.store = store
        self.hull = hull
        self.geometry = geometry
        self.compute = compute
        settings = relax.of_bulk().model_copy(
            update={
                "max_steps": hull.max_steps,
                "seconds_per_structure": hull.seconds_per_phase,
                "volume_scan": False,
            }
        )
        self.energies = PhaseEnergies(potential, store, settings)
        self.level = self._level(geometry)

    def entries_of(self, chemical_system: str) -> list[Entry]:
        """Return the crystals that compete in a chemical system, subsystems included.

        Raises:
            TooManyPhases: They are more than ``max_phases``.
        """
        systems = subsystems(elements_of(chemical_system))
        entries = self._small_enough(self.store.entries_of(systems))
        if len(entries) > self.hull.max_phases:
            raise TooManyPhases(
                f"{chemical_system} has {len(entries)} competing phases, more than "
                f"hull.max_phases = {self.hull.max_phases}"
            )
        return entries

    def left_out(self, chemical_system: str) -> int:
        """Return how many crystals of a chemical system are left out as too large."""
        entries = self.store.entries_of(subsystems(elements_of(chemical_system)))
        return len(entries) - len(self._small_enough(entries))

    def phases_of(self, chemical_system: str) -> list[Phase]:
        """See `Phases.phases_of`; relaxed are all within the margin of the single-point hull."""
        entries = self.entries_of(chemical_system)
        single = self._single_points(chemical_system, entries)
        if self.geometry is Geometry.SINGLE_POINT:
            return single
        hull = Hull(single)
        near = {
            phase.id
            for phase in single
            if hull.at(phase.composition, phase.formation_energy_per_atom).energy_above_hull
            <= self.hull.margin
        }
        chosen = [entry for entry in entries if entry.id in near]
        return [*self._elements(chemical_system), *self._relaxed(chemical_system, chosen)]

    def phases_for(self, composition: Composition, leave_out: Collection[str] = ()) -> list[Phase]:
        """Return the phases that decide about one composition; cheaper than `phases_of`.

        A phase that is not relaxed yet counts with its single point less the margin, which is below
        its relaxed energy. Where the hull of these bounds and of the relaxed energies at the
        composition is made of relaxed phases alone, it is the hull of relaxed phases; until then
        the others on it are relaxed.

        Args:
            composition: Only the ratios matter.
            leave_out: Ids of phases that are not to compete: to ask how stable a known phase is.

        Returns:
            For single points, all phases; else the relaxed ones, which give the same distance at
            this composition as `phases_of`.

        Raises:
            IncompleteHull: A phase lacks an energy.
            TooManyPhases: There are more of them than may be computed.
        """
        system = composition.chemical_system
        entries = {e.id: e for e in self.entries_of(system) if e.id not in leave_out}
        single = self._single_points(system, list(entries.values()))
        if self.geometry is Geometry.SINGLE_POINT:
            return single
        known = {phase.id: phase for phase in self._elements(system)}
        bounds = {phase.id: self._bound(phase) for phase in single if phase.id in entries}
        stored = self.energies.known(list(entries.values()), Geometry.RELAXED)
        for entry in entries.values():
            if entry.id in stored and self._fault(entry, stored[entry.id]) is None:
                known[entry.id] = self._phase(entry, stored[entry.id], self.level)
        while True:
            open_ = {name: bound for name, bound in bounds.items() if name not in known}
            hull = Hull([*known.values(), *open_.values()])
            products = [product.id for product in hull.at(composition, 0.0).decomposition]
            chosen = [open_[name] for name in products if name in open_]
            if not chosen:
                return list(known.values())
            together = [entries[name] for name in _with_polymorphs(chosen, open_, self.hull.margin)]
            known |= {phase.id: phase for phase in self._relaxed(system, together)}

    def relaxed(self, chemical_system: str, ids: Collection[str]) -> list[Phase]:
        """Return some phases of a chemical system relaxed, however far from the hull they are.

        Raises:
            IncompleteHull: One of them lacks an energy.
        """
        entries = [entry for entry in self.entries_of(chemical_system) if entry.id in ids]
        return self._relaxed(chemical_system, entries)

    def _level(self, geometry: Geometry) -> Level:
        how = self.energies.criterion(geometry)
        return Level(self.potential.level, self.references.digest, how)

    def _small_enough(self, entries: Sequence[Entry]) -> list[Entry]:
        most = self.hull.max_atoms
        return [entry for entry in entries if most is None or entry.n_atoms <= most]

    def _elements(self, chemical_system: str, geometry: Geometry | None = None) -> list[Phase]:
        """Return the elemental references: zero by definition."""
        from pymatgen.core import Composition

        level = self._level(geometry or self.geometry)
        return [
            Phase(f"element:{symbol}", Composition(symbol), 0.0, level)
            for symbol in elements_of(chemical_system)
            if self.references[symbol]
        ]

    def _single_points(self, chemical_system: str, entries: Sequence[Entry]) -> list[Phase]:
        known = self.energies.known(entries, Geometry.SINGLE_POINT)
        missing = [entry for entry in entries if entry.id not in known]
        if missing and self.compute:
            for energies in self.energies.single_points(missing):
                known |= {one.id: one for one in energies}
        phases = self._complete(chemical_system, entries, known, Geometry.SINGLE_POINT)
        return [*self._elements(chemical_system, Geometry.SINGLE_POINT), *phases]

    def _relaxed(self, chemical_system: str, entries: Sequence[Entry]) -> list[Phase]:
        known = self.energies.known(entries, Geometry.RELAXED)
        missing = [entry for entry in entries if entry.id not in known]
        if missing and self.compute:
            for one in self.energies.relax(missing):
                known[one.id] = one
        return self._complete(chemical_system, entries, known, Geometry.RELAXED)

    def _complete(
        self,
        chemical_system: str,
        entries: Sequence[Entry],
        known: dict[str, PhaseEnergy],
        geometry: Geometry,
    ) -> list[Phase]:
        """Return the phases of all entries, or refuse."""
        faults = {entry.id: self._fault(entry, known.get(entry.id)) for entry in entries}
        if missing := {name: fault for name, fault in faults.items() if fault is not None}:
            raise IncompleteHull(chemical_system, missing)
        level = self._level(geometry)
        return [self._phase(entry, known[entry.id], level) for entry in entries]

    def _fault(self, entry: Entry, energy: PhaseEnergy | None) -> str | None:
        """Say why an energy cannot be used, or nothing."""
        if energy is None:
            return f"{entry.formula}: not computed"
        if energy.energy_per_atom is None:
            return f"{entry.formula}: {energy.error}"
        formation = self._formation_energy(entry, energy.energy_per_atom)
        if formation < self.energies.settings.formation_energy_min:
            return f"{entry.formula}: no crystal has a formation energy of {formation:.2f} eV/atom"
        return None

    def _phase(self, entry: Entry, energy: PhaseEnergy, level: Level) -> Phase:
        from pymatgen.core import Composition

        assert energy.energy_per_atom is not None  # `_fault` has said so
        formation = self._formation_energy(entry, energy.energy_per_atom)
        return Phase(entry.id, Composition(entry.formula), formation, level)

    def _bound(self, phase: Phase) -> Phase:
        lowest = phase.formation_energy_per_atom - self.hull.margin
        return Phase(phase.id, phase.composition, lowest, self.level)

    def _formation_energy(self, entry: Entry, energy_per_atom: float) -> float:
        from pymatgen.core import Composition

        composition = Composition(entry.formula)
        total = energy_per_atom * composition.num_atoms
        return self.references.formation_energy_per_atom(composition, total)


def _with_polymorphs(
    chosen: Sequence[Phase], others: Mapping[str, Phase], margin: float
) -> list[str]:
    """Return ids of phases and of those of the same formula that would be asked for next.

    Once a phase is relaxed, and so about half the margin above its bound, the bounds of its
    polymorphs are the lowest; asking for them at once fills the batch.
    """
    lowest = {
        phase.composition.reduced_formula: phase.formation_energy_per_atom for phase in chosen
    }
    return [
        name
        for name, phase in others.items()
        if phase.formation_energy_per_atom
        <= lowest.get(phase.composition.reduced_formula, -math.inf) + margin / 2
    ]
