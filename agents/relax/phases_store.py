"""What a store of reference crystals and of their energies must offer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pymatgen.core import Structure


@dataclass(frozen=True, order=True)
class Entry:
    """A reference crystal without its geometry.

    Attributes:
        id: Its id in the collection.
        formula: Reduced formula.
        n_atoms: Atoms in the cell.
    """

    id: str
    formula: str
    n_atoms: int


@dataclass(frozen=True)
class PhaseEnergy:
    """What a potential says of one reference crystal in one geometry.

    Attributes:
        id: The crystal.
        potential: Level of the potential, "chgnet-0.3.0".
        criterion: How the geometry was obtained (`agents.relax.phases.criterion`).
        energy_per_atom: Total energy, eV/atom; None where there is none.
        error: Why there is none.
        steps: Optimiser steps; 0 for a single point.
        max_force: Largest force left on an atom, eV/Å; None where not computed.
        max_stress: Largest component of stress left, eV/Å^3; None where not computed.
        seconds: What it took.
    """

    id: str
    potential: str
    criterion: str
    energy_per_atom: float | None
    error: str | None = None
    steps: int = 0
    max_force: float | None = None
    max_stress: float | None = None
    seconds: float = 0.0


class PhaseStore(ABC):
    """Reference crystals by chemical system, and their energies, each computed once.

    Any number of processes may read and write one store; of two results for the same crystal,
    potential and criterion the first stays.

    Attributes:
        reference: Name, version and checksum of the collection, for records.
    """

    reference: str

    @abstractmethod
    def entries_of(self, chemical_systems: Sequence[str]) -> list[Entry]:
        """Return the crystals that are in one of the chemical systems, by id.

        Args:
            chemical_systems: Sorted elements joined by "-"; subsystems are not implied.
        """

    @abstractmethod
    def structures(self, ids: Sequence[str]) -> dict[str, Structure]:
        """Return crystals by id.

        Raises:
            KeyError: There is none of one of the ids.
        """

    @abstractmethod
    def energies(
        self, ids: Sequence[str], potential: str, criterion: str
    ) -> dict[str, PhaseEnergy]:
        """Return what is known of some crystals; those of which nothing is known are left out."""

    @abstractmethod
    def add(self, energies: Iterable[PhaseEnergy]) -> None:
        """Store energies, safe against a crash once it returns."""
