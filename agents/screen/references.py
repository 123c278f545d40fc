"""Collections of known crystals against which a candidate is compared, looked up by formula."""

from __future__ import annotations

import csv
import gzip
import logging
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from agents.tables import parse_structure

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from model.generator import Generator

log = logging.getLogger(__name__)

_REMEMBERED = 4096
"""Formulas whose crystals are kept in memory."""


@dataclass(frozen=True)
class KnownCrystal:
    """One crystal of a reference collection.

    Attributes:
        id: Its identifier there.
        structure: The crystal.
        role: ``train`` if the generator was trained on it, else ``val`` or ``known``.
    """

    id: str
    structure: Structure
    role: str


class Reference(ABC):
    """A collection of known crystals.

    Built once in a worker, then asked for one formula after another. It answers with all crystals
    of that formula and leaves the comparison to `agents.screen.duplicates`.

    Attributes:
        name: Name in records; says where the structures come from.
    """

    name: str

    @abstractmethod
    def of_formula(self, formula: str) -> tuple[KnownCrystal, ...]:
        """Return the crystals with a reduced formula (pymatgen's), always in the same order."""


class BankReference(Reference):
    """The crystals of a generator's code bank, decoded when their formula is asked for.

    No data set is needed for it. A decoded crystal is not quite the original: the reconstruction
    error (RMS about 0.005 on Perov-5) is far inside the matcher's tolerance of 0.5.
    """

    def __init__(self, generator: Generator) -> None:
        """Index the bank by formula.

        Args:
            generator: A loaded checkpoint with its bank.
        """
        self.name = f"{generator.name}-bank@{generator.version}"
        self._generator = generator
        self._rows: dict[str, list[int]] = defaultdict(list)
        for row, formula in enumerate(generator.bank.formulas):
            self._rows[str(formula)].append(row)
        self._lookup = lru_cache(maxsize=_REMEMBERED)(self._decode)

    def of_formula(self, formula: str) -> tuple[KnownCrystal, ...]:
        """Return the bank's crystals with a formula, in the bank's order."""
        return self._lookup(formula)

    def has(self, formula: str) -> bool:
        """Say whether the bank has a crystal with a reduced formula."""
        return formula in self._rows

    def _decode(self, formula: str) -> tuple[KnownCrystal, ...]:
        bank = self._generator.bank
        rows = self._rows.get(formula, [])
        decoded = self._generator.decode([bank.codes(row) for row in rows]) if rows else []
        known = []
        for row, item in zip(rows, decoded):
            if item.structure is None:
                log.warning("%s: %s is not compared: %s", self.name, bank.ids[row], item.error)
            else:
                known.append(KnownCrystal(str(bank.ids[row]), item.structure, str(bank.role[row])))
        return tuple(known)


class CatalogueReference(Reference):
    """Crystals given as structures, or read from a table in the layout of the data folder."""

    def __init__(
        self, name: str, structures: Mapping[str, Structure], *, role: str = "known"
    ) -> None:
        """Index structures by formula.

        Args:
            name: Name in records.
            structures: Identifier to crystal.
            role: Role of all of them.
        """
        self.name = name
        self.role = role
        self.size = len(structures)
        self._entries: dict[str, list[tuple[str, Structure | str]]] = defaultdict(list)
        for identifier, structure in structures.items():
            formula = structure.composition.reduced_formula
            self._entries[formula].append((identifier, structure))

    @classmethod
    def from_table(cls, path: Path, *, role: str = "known") -> CatalogueReference:
        """Read a ``csv.gz`` with ``material_id``, ``formula`` and ``structure`` columns.

        Args:
            path: The table; cells are parsed only when their formula is asked for.
            role: Role of all of its crystals.

        Returns:
            The reference, named after the file.

        Raises:
            ValueError: A column is missing, or a formula is none.
        """
        return cls.from_tables(path.name.removesuffix(".csv.gz"), [path], role=role)

    @classmethod
    def from_tables(
        cls,
        name: str,
        paths: Sequence[Path],
        *,
        role: str = "known",
        formulas: Collection[str] | None = None,
    ) -> CatalogueReference:
        """Read several tables as one reference, as `from_table` does.

        Args:
            name: Name in records.
            paths: The tables.
            role: Role of all of their crystals.
            formulas: Reduced formulas whose crystals are kept, which saves memory; None: all.

        Returns:
            The reference; `size` counts all rows, kept or not.

        Raises:
            ValueError: A column is missing, or a formula is none.
        """
        csv.field_size_limit(10_000_000)
        reference = cls(name, {}, role=role)
        for path in paths:
            with gzip.open(path, "rt", newline="", encoding="utf-8") as file:
                table = csv.DictReader(file)
                missing = {"material_id", "formula", "structure"} - set(table.fieldnames or ())
                if missing:
                    raise ValueError(f"{path} lacks the columns {', '.join(sorted(missing))}")
                for row in table:
                    formula = _reduced_formula(row["formula"])
                    if formulas is None or formula in formulas:
                        reference.add(row["material_id"], formula, row["structure"])
                    else:
                        reference.size += 1
        return reference

    def add(self, identifier: str, formula: str, text: str) -> None:
        """Add a crystal as a table has it.

        Args:
            identifier: Its identifier.
            formula: Its reduced formula (pymatgen's).
            text: For `agents.tables.parse_structure`, when the formula is asked for.
        """
        self.size += 1
        self._entries[formula].append((identifier, text))

    def entries(self, formula: str) -> tuple[tuple[str, Structure | str, str], ...]:
        """Return (id, crystal or its text in the table, role) of the crystals with a formula."""
        return tuple((name, entry, self.role) for name, entry in self._entries.get(formula, []))

    def of_formula(self, formula: str) -> tuple[KnownCrystal, ...]:
        """Return the crystals with a formula, in the order of the table."""
        return tuple(
            KnownCrystal(
                identifier, parse_structure(entry) if isinstance(entry, str) else entry, self.role
            )
            for identifier, entry in self._entries.get(formula, [])
        )


@lru_cache(maxsize=1 << 17)
def _reduced_formula(text: str) -> str:
    from pymatgen.core import Composition

    return str(Composition(text).reduced_formula)


@lru_cache(maxsize=2)
def training_reference(generator: Generator) -> BankReference:
    """Return the bank of a generator as a reference, indexed once per process."""
    return BankReference(generator)
