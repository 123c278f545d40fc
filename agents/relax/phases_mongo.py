"""Competing phases from the reference collections in the database, for campaigns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from agents.relax.hull_settings import HullSettings
from agents.relax.phases import Geometry
from agents.relax.phases_evaluation import CompetingPhases
from agents.relax.phases_store import Entry, PhaseEnergy, PhaseStore
from agents.relax.settings import RelaxSettings
from db import reference_collections, reference_energies, reference_structures
from db.crystals import record_to_structure

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from agents.relax.potential import Potential
    from agents.relax.references import ElementalReferences


class MongoStore(PhaseStore):
    """A reference collection of the database, and energies beside it."""

    def __init__(self, collection: str) -> None:
        """Open a collection.

        Raises:
            UnknownCollection: It was not imported, or not to its end.
        """
        known = reference_collections.load(collection)
        self.collection = collection
        self.reference = f"{collection} {known['version']}, files {known['checksum']}"

    def entries_of(self, chemical_systems: Sequence[str]) -> list[Entry]:
        """See `PhaseStore.entries_of`."""
        found = reference_structures.of_systems(self.collection, chemical_systems)
        return [Entry(*one) for one in found]

    def structures(self, ids: Sequence[str]) -> dict[str, Structure]:
        """See `PhaseStore.structures`."""
        found = reference_structures.structures(self.collection, ids)
        return {name: record_to_structure(found[name]) for name in ids}

    def energies(
        self, ids: Sequence[str], potential: str, criterion: str
    ) -> dict[str, PhaseEnergy]:
        """See `PhaseStore.energies`."""
        found = reference_energies.find(self.collection, ids, potential, criterion)
        return {name: PhaseEnergy(id=one.pop("reference_id"), **one) for name, one in found.items()}

    def add(self, energies: Iterable[PhaseEnergy]) -> None:
        """See `PhaseStore.add`."""
        records = [asdict(one) for one in energies]
        for record in records:
            record["reference_id"] = record.pop("id")
        reference_energies.put(self.collection, records)


class MongoPhases(CompetingPhases):
    """Competing phases of a campaign."""

    def __init__(
        self,
        potential: Potential,
        references: ElementalReferences,
        *,
        collection: str,
        relax: RelaxSettings,
        hull: HullSettings,
        geometry: Geometry = Geometry.RELAXED,
        compute: bool = True,
    ) -> None:
        """Open the collection; see `CompetingPhases` for the arguments.

        Raises:
            UnknownCollection: It was not imported (`db.reference_collections`).
        """
        super().__init__(
            potential,
            references,
            MongoStore(collection),
            relax=relax,
            hull=hull,
            geometry=geometry,
            compute=compute,
        )
