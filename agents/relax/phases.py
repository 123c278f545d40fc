"""Competing phases: the known crystals that a candidate may decompose into, at one level."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymatgen.core import Composition

#: How many missing phases an error names before it only counts them.
NAMED = 5


class HullRefused(RuntimeError):
    """A distance to the hull would not be right, so there is none.

    Attributes:
        reason: Snake-case name of why, for records.
    """

    reason = "refused"


class IncompleteHull(HullRefused):
    """Competing phases lack an energy.

    Attributes:
        missing: Id of each such phase, and why it has no energy.
    """

    reason = "incomplete"

    def __init__(self, chemical_system: str, missing: dict[str, str]) -> None:
        named = "; ".join(f"{name} ({why})" for name, why in list(missing.items())[:NAMED])
        more = f"; and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        super().__init__(
            f"the hull of {chemical_system} is incomplete: {len(missing)} competing phases lack an "
            f"energy: {named}{more}"
        )
        self.missing = dict(missing)


class TooManyPhases(HullRefused):
    """A chemical system has more competing phases than may be computed."""

    reason = "too_many_phases"


class MixedLevels(HullRefused):
    """Energies of different potentials, references or relaxations met on one hull."""

    reason = "mixed_levels"


class Geometry(StrEnum):
    """Which geometry of a reference crystal an energy belongs to."""

    SINGLE_POINT = "single_point"  # as it is in the reference collection
    RELAXED = "relaxed"


@dataclass(frozen=True)
class Level:
    """What all energies on one hull have in common.

    Attributes:
        potential: Level of the potential, "chgnet-0.3.0".
        references: Digest of its table of elemental references.
        criterion: How the geometries were obtained, see `criterion`.
    """

    potential: str
    references: str
    criterion: str

    def __str__(self) -> str:
        return f"{self.potential}, references {self.references[:12]}, {self.criterion}"


def criterion(geometry: Geometry, relaxation: Mapping[str, Any]) -> str:
    """Write down how the geometries were obtained; equal texts, comparable energies.

    The number of steps and the optimiser are not part of it: they decide whether and how fast a
    minimum is reached, not where it is.

    Args:
        geometry: Single points or relaxed crystals.
        relaxation: Its settings, `RelaxSettings.relaxation_record`.
    """
    if geometry is Geometry.SINGLE_POINT:
        return str(geometry)
    relaxed = relaxation["relax_cell"]
    cell = f"stress<={relaxation['stress_max']:g} GPa" if relaxed else "fixed cell"
    return f"relaxed, force<={relaxation['fmax']:g} eV/Å, {cell}, {relaxation['pressure']:g} GPa"


@dataclass(frozen=True)
class Phase:
    """One competing phase.

    Attributes:
        id: Its id in the reference collection, or "element:Na" for an elemental reference.
        composition: Atoms of the phase; only the ratios matter.
        formation_energy_per_atom: eV/atom, relative to the references of `level`.
        level: What it may be compared with.
    """

    id: str
    composition: Composition
    formation_energy_per_atom: float
    level: Level


class Phases(ABC):
    """A reference collection seen with the eyes of one potential.

    Built once in a process and asked for one chemical system after another. Energies that are
    missing are computed, stored and never computed again; or, where computing is switched off, they
    are missed (`IncompleteHull`). Two processes may share one store.

    Attributes:
        level: Level of the phases it returns.
    """

    level: Level

    @abstractmethod
    def phases_of(self, chemical_system: str) -> list[Phase]:
        """Return every phase that competes in a chemical system, its elements included.

        Args:
            chemical_system: "Na-Cl" or "Cl-Na".

        Returns:
            Phases of all subsystems, at one level.

        Raises:
            IncompleteHull: A phase lacks an energy.
            TooManyPhases: There are more of them than may be computed.
        """


def common_level(phases: Iterable[Phase]) -> Level:
    """Return the level that phases have in common.

    Raises:
        MixedLevels: They have none.
        ValueError: There are no phases.
    """
    levels = sorted({phase.level for phase in phases}, key=str)
    if not levels:
        raise ValueError("there are no phases")
    if len(levels) > 1:
        found = " and ".join(str(level) for level in levels)
        raise MixedLevels(f"energies of different levels on one hull: {found}")
    return levels[0]


def elements_of(chemical_system: str) -> tuple[str, ...]:
    """Return the elements of "Na-Cl", sorted and each once."""
    return tuple(sorted(set(chemical_system.split("-"))))


def subsystems(elements: Sequence[str]) -> list[str]:
    """Return all chemical systems made of some of the elements, the smallest first.

    Example:
        >>> subsystems(["Cl", "Na"])
        ['Cl', 'Na', 'Cl-Na']
    """
    ordered = sorted(set(elements))
    return [
        "-".join(some)
        for size in range(1, len(ordered) + 1)
        for some in combinations(ordered, size)
    ]
