"""Whether a crystal is known: in the generator's data, or in the reference collection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agents.screen.matching import match_distance
from agents.screen.references import BankReference
from agents.screen.settings import MatcherSettings

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from agents.relax.phases_store import PhaseStore
    from model.generator import Generator


class KnownCrystals:
    """The crystals of the code bank, held-out ones too, and those of the reference collection."""

    def __init__(self, generator: Generator, store: PhaseStore) -> None:
        """Take both collections."""
        self._bank = BankReference(generator)
        self._store = store
        self._tolerances = MatcherSettings()

    def matches(self, structure: Structure) -> str | None:
        """Return the name of a known crystal that `StructureMatcher` fits, None for a new one."""
        for name, known in self._of_formula(structure):
            try:
                distance = match_distance(structure, known, self._tolerances)
            except ValueError:  # pymatgen's words for a cell too skewed for a Niggli reduction
                distance = None
            if distance is not None:
                return name
        return None

    def has(self, formula: str) -> bool:
        """Say whether a crystal of a reduced formula is known, whatever its structure."""
        from pymatgen.core import Composition

        if self._bank.has(formula):
            return True
        entries = self._store.entries_of([Composition(formula).chemical_system])
        return any(_reduced(entry.formula) == formula for entry in entries)

    def _of_formula(self, structure: Structure) -> list[tuple[str, Structure]]:
        formula = structure.composition.reduced_formula
        known = [(one.id, one.structure) for one in self._bank.of_formula(formula)]
        system = structure.composition.chemical_system
        entries = self._store.entries_of([system])
        names = [entry.id for entry in entries if _reduced(entry.formula) == formula]
        return known + list(self._store.structures(names).items())


def _reduced(formula: str) -> str:
    from pymatgen.core import Composition

    reduced: str = Composition(formula).reduced_formula
    return reduced
