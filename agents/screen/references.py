"""Collections of known crystals against which a candidate is compared, looked up by formula."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from agents.screen.matching import ComparedCrystal, Written
from agents.tables import read_rows, structure_reader

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from model.generator import Generator

log = logging.getLogger(__name__)

COLUMNS = ("material_id", "formula", "structure")
"""What a table must have."""
_REMEMBERED = 4096
"""Formulas whose crystals are kept in memory."""


class Reference(ABC):
    """A collection of known crystals.

    Built once in a worker, then asked for one formula after another. It answers with all crystals
    of that formula and leaves the comparison to `agents.screen.matching`.

    Attributes:
        name: Name in records; says where the structures come from.
        version: Version of the collection, if it has one.
        checksum: Of the collection's files, if it has some.
        vacuum: Å that slabs get before they are compared, these and those asked about; None: they
            stay as they are.
    """

    name: str
    version: str | None = None
    checksum: str | None = None
    vacuum: float | None = None

    @abstractmethod
    def of_formula(self, formula: str) -> tuple[ComparedCrystal, ...]:
        """Return the crystals with a reduced formula (pymatgen's), always in the same order."""

    def of_formulas(self, formulas: Sequence[str]) -> dict[str, tuple[ComparedCrystal, ...]]:
        """Return the crystals of several formulas at once, which may be cheaper."""
        return {formula: self.of_formula(formula) for formula in formulas}


class BankReference(Reference):
    """The crystals of a generator's code bank, decoded when their formula is asked for.

    No data set is needed for it. A decoded crystal is not quite the original: the reconstruction
    error (RMS about 0.005 on Perov-5) is far inside the matcher's tolerance of 0.5.
    """

    def __init__(self, generator: Generator, *, vacuum: float | None = None) -> None:
        """Index the bank by formula.

        Args:
            generator: A loaded checkpoint with its bank.
            vacuum: Å that slabs get before they are compared.
        """
        self.vacuum = vacuum
        self.name = f"{generator.name}-bank@{generator.version}"
        self._generator = generator
        self._rows: dict[str, list[int]] = defaultdict(list)
        for row, formula in enumerate(generator.bank.formulas):
            self._rows[str(formula)].append(row)
        self._lookup = lru_cache(maxsize=_REMEMBERED)(self._decode)

    def of_formula(self, formula: str) -> tuple[ComparedCrystal, ...]:
        """Return the bank's crystals with a formula, in the bank's order."""
        return self._lookup(formula)

    def has(self, formula: str) -> bool:
        """Say whether the bank has a crystal with a reduced formula."""
        return formula in self._rows

    def _decode(self, formula: str) -> tuple[ComparedCrystal, ...]:
        bank = self._generator.bank
        rows = self._rows.get(formula, [])
        decoded = self._generator.decode([bank.codes(row) for row in rows]) if rows else []
        known = []
        for row, item in zip(rows, decoded):
            if item.structure is None:
                log.warning("%s: %s is not compared: %s", self.name, bank.ids[row], item.error)
            else:
                identifier, role = str(bank.ids[row]), str(bank.role[row])
                known.append(ComparedCrystal(identifier, item.structure, role, vacuum=self.vacuum))
        return tuple(known)


class CatalogueReference(Reference):
    """Crystals given as structures, or read from a table in the layout of the data folder."""

    def __init__(
        self,
        name: str,
        structures: Mapping[str, Structure],
        *,
        role: str = "known",
        vacuum: float | None = None,
    ) -> None:
        """Index structures by formula.

        Args:
            name: Name in records.
            structures: Identifier to crystal.
            role: Role of all of them.
            vacuum: Å that slabs get before they are compared.
        """
        self.name = name
        self.role = role
        self.vacuum = vacuum
        self.size = len(structures)
        self._entries: dict[str, list[tuple[str, Structure | Written]]] = defaultdict(list)
        for identifier, structure in structures.items():
            formula = structure.composition.reduced_formula
            self._entries[formula].append((identifier, structure))

    @classmethod
    def from_table(
        cls,
        path: Path,
        *,
        role: str = "known",
        formulas: Collection[str] | None = None,
        vacuum: float | None = None,
    ) -> CatalogueReference:
        """Read a ``csv.gz`` with ``material_id``, ``formula`` and ``structure`` columns.

        Args:
            path: The table; cells are parsed only when they are compared.
            role: Role of all of its crystals.
            formulas: Reduced formulas whose crystals are kept, which saves memory; None: all.
            vacuum: Å that slabs get before they are compared.

        Returns:
            The reference, named after the file; `size` counts all rows, kept or not.

        Raises:
            ValueError: A column is missing, or a formula is none.
        """
        reference = cls(path.name.removesuffix(".csv.gz"), {}, role=role, vacuum=vacuum)
        read = structure_reader(path)
        for row in read_rows(path):
            missing = [column for column in COLUMNS if row.get(column) is None]
            if missing:
                raise ValueError(f"{path} lacks the columns {', '.join(missing)}")
            formula = _reduced_formula(row["formula"])
            if formulas is None or formula in formulas:
                crystal = Written(row["structure"], read)
                reference._entries[formula].append((row["material_id"], crystal))
            reference.size += 1
        return reference

    def of_formula(self, formula: str) -> tuple[ComparedCrystal, ...]:
        """Return the crystals with a formula, in the order of the table."""
        return tuple(
            ComparedCrystal(identifier, entry, self.role, vacuum=self.vacuum)
            for identifier, entry in self._entries.get(formula, [])
        )


@lru_cache(maxsize=1 << 17)
def _reduced_formula(text: str) -> str:
    from pymatgen.core import Composition

    return str(Composition(text).reduced_formula)


@lru_cache(maxsize=2)
def training_reference(generator: Generator, vacuum: float | None = None) -> BankReference:
    """Return the bank of a generator as a reference, indexed once per process."""
    return BankReference(generator, vacuum=vacuum)
