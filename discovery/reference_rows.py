"""One row of a reference collection: from what a table says to what is stored.

Runs in the processes of an import, so it needs no connection.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.screen import duplicates_fingerprint
from db import reference_structures

if TYPE_CHECKING:
    from pymatgen.core import Structure

FAULTS = (ValueError, LookupError, TypeError, ArithmeticError, AttributeError)
"""What a row that is no crystal raises."""

IDS = ("material_id", "id")
#: Columns that are stored under other names, or not as properties.
NOT_PROPERTIES = frozenset({*IDS, "formula", "natoms", "structure", "cif", "source"})
#: The project's name of a property that tables call otherwise.
NAMES = {"e_above_hull": "energy_above_hull"}


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        number: Its place, from 1.
        values: Its cells; ``structure`` is JSON as in the data folder.
    """

    number: int
    values: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Its identifier; empty where it has none."""
        return next((str(self.values[key]) for key in IDS if self.values.get(key)), "")


@dataclass(frozen=True)
class BadRow:
    """A row that was left out.

    Attributes:
        row: Its place, from 1 for the first below the heading.
        id: Its id, as far as it has one.
        reason: What is wrong with it.
    """

    row: int
    id: str
    reason: str


@dataclass(frozen=True)
class Batch:
    """Rows that are read together.

    Attributes:
        collection: Where they belong.
        file: Name of their table.
        role: Role of their crystals.
        rows: The rows.
        position: How much of the table was read when the last of them was, in bytes.
    """

    collection: str
    file: str
    role: str
    rows: tuple[Row, ...]
    position: int


@dataclass(frozen=True)
class BatchResult:
    """What became of a batch.

    Attributes:
        batch: The batch, without its rows.
        n: How many rows it had.
        crystals: Number of its row and document (`db.reference_structures.encode`), by id.
        bad: The rows left out.
    """

    batch: Batch
    n: int
    crystals: dict[str, tuple[int, bytes]]
    bad: list[BadRow]


def read_batch(batch: Batch) -> BatchResult:
    """Read rows as documents."""
    crystals: dict[str, tuple[int, bytes]] = {}
    bad: list[BadRow] = []
    for row in batch.rows:
        place = {"role": batch.role, "file": batch.file, "row": row.number}
        try:
            if row.id in crystals:
                raise ValueError(f"row {crystals[row.id][0]} has the same id")
            document = reference_structures.encode(batch.collection, read_crystal(row) | place)
            crystals[row.id] = (row.number, document)
        except FAULTS as error:
            bad.append(BadRow(row.number, row.id, _reason(error)))
    return BatchResult(replace(batch, rows=()), len(batch.rows), crystals, bad)


def _reason(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0]
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"


def read_crystal(row: Row) -> dict[str, Any]:
    """Read one row as the fields of a stored crystal.

    Raises:
        ValueError, LookupError, TypeError: It is no crystal.
    """
    from pymatgen.core import Structure

    values = row.values
    if not row.id:
        raise ValueError("it has no material_id")
    text = values["structure"]
    lattice, species, positions = _cell(text)
    formula, elements = _formula(tuple(sorted(species)))
    if values.get("formula") and formula_of(values["formula"]) != formula:
        raise ValueError(f"the formula is {values['formula']}, but the crystal is {formula}")
    record = {"lattice": lattice, "species": species, "frac_coords": positions}
    return {
        "reference_id": row.id,
        "formula": formula,
        "chemical_system": "-".join(elements),
        "elements": list(elements),
        "n_atoms": len(species),
        "structure": record,
        "source": values.get("source") or None,
        "checksum": hashlib.sha256(text.encode()).hexdigest()[:16],
        "properties": properties(values),
        **_fingerprint(Structure(lattice, species, positions)),
    }


def _cell(text: str) -> tuple[list[list[float]], list[str], list[list[float]]]:
    """Return lattice vectors (Å), symbols and fractional coordinates of a ``structure`` column."""
    from pymatgen.core import Lattice

    record = json.loads(text)
    species, positions = record["species"], record["frac"]
    if not species or len(species) != len(positions):
        raise ValueError(f"{len(species)} species, but {len(positions)} positions")
    numbers = [*record["cell"], *(x for position in positions for x in position)]
    if len(numbers) != 6 + 3 * len(species) or not all(map(math.isfinite, numbers)):
        raise ValueError("cell or positions are not finite numbers")
    lattice = Lattice.from_parameters(*record["cell"])
    if not lattice.volume > 0:
        raise ValueError(f"the cell {record['cell']} has no volume")
    return lattice.matrix.tolist(), species, positions


def _fingerprint(structure: Structure) -> dict[str, Any]:
    values = duplicates_fingerprint.fingerprint(structure)
    if not np.isfinite(values).all():
        raise ValueError("its fingerprint is not finite: atoms coincide or the cell is degenerate")
    return {
        "fingerprint": duplicates_fingerprint.to_bytes(values),
        "fingerprint_version": duplicates_fingerprint.VERSION,
    }


def properties(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what else a row says: numbers as numbers, the rest as text, nothing for empty cells.

    Names are those of the table, but for `NAMES`, and with "_" for ".".
    """
    found = {}
    for name, value in values.items():
        if name is None or name in NOT_PROPERTIES or value is None or value == "":
            continue
        read = _number(value)
        if read is not None:
            found[NAMES.get(name, name).replace(".", "_").lstrip("$")] = read
    return found


def _number(value: Any) -> int | float | str | None:
    if not isinstance(value, str):
        return value if not isinstance(value, float) or math.isfinite(value) else None
    for kind in (int, float):
        try:
            number = kind(value)
        except ValueError:
            continue
        return number if math.isfinite(number) else None
    return value


@lru_cache(maxsize=4096)
def _formula(species: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    from pymatgen.core import Composition, Element

    elements = sorted(set(species))
    for symbol in elements:
        if not Element.is_valid_symbol(symbol):
            raise ValueError(f"{symbol!r} is not an element")
    amounts = {symbol: species.count(symbol) for symbol in elements}
    return Composition(amounts).reduced_formula, tuple(elements)


@lru_cache(maxsize=4096)
def formula_of(text: str) -> str:
    """Return the reduced formula (pymatgen's) of a formula."""
    from pymatgen.core import Composition

    return str(Composition(text).reduced_formula)
