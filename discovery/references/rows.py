"""One row of a reference collection: from what a table says to what is stored.

Runs in the processes of an import, so it needs no connection.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.screen import duplicates_fingerprint
from db import reference_structures
from db.plain import LARGEST_INT
from discovery.references.structure_json import crystal_text, pymatgen_text
from model.data.c2db import TABLES as C2DB_TABLES
from model.data.c2db import fractional
from model.data.formats import read_cif, read_poscar, read_xyz
from model.data.table import Entry

if TYPE_CHECKING:
    from pymatgen.core import Structure

FAULTS = (ValueError, LookupError, TypeError, ArithmeticError, AttributeError, RecursionError)
"""What a row that is no crystal raises."""

IDS = ("material_id", "id")
#: Columns that are stored under other names, or not as properties.
NOT_PROPERTIES = frozenset({*IDS, "formula", "natoms", "structure", "cif", "text", "source"})
#: The project's name of a property that tables call otherwise.
NAMES = {"e_above_hull": "energy_above_hull"}


#: What is read otherwise than it is written, and how: noted of a file, and changed when that is.
OBLIQUE_READING = "oblique-1"
C2DB_SOURCE = "C2DB"


def reading_of(file: str) -> str | None:
    """Return the version of how a file is read, by its name; None: as it is written."""
    return OBLIQUE_READING if file in C2DB_TABLES else None


class Form(StrEnum):
    """How the crystal of a row is written."""

    TABLE = "table"
    """Column ``structure``: JSON as in the data folder; else ``cif``."""
    PYMATGEN = "pymatgen"
    """``structure``: pymatgen's ``Structure.as_dict()``."""
    CIF = "cif"
    """``text``: a CIF of one block."""
    XYZ = "xyz"
    """``text``: one frame of an extended xyz file."""
    POSCAR = "poscar"
    """``text``: a POSCAR."""
    UNREADABLE = "unreadable"
    """``text``: why there is none."""


@dataclass(frozen=True)
class Row:
    """One row of a table, or one crystal of another file.

    Attributes:
        number: Its place, from 1.
        values: Its cells, or what stands beside the crystal.
        form: Where in `values` the crystal is.
        name: Its id where `values` has none.
    """

    number: int
    values: Mapping[str, Any]
    form: Form = Form.TABLE
    name: str = ""

    @property
    def id(self) -> str:
        """Its identifier; empty where it has none."""
        return next((str(self.values[key]) for key in IDS if self.values.get(key)), self.name)


_READERS: dict[Form, Callable[[str, str], Iterator[Entry]]] = {
    Form.TABLE: read_cif,
    Form.CIF: read_cif,
    Form.XYZ: read_xyz,
    Form.POSCAR: read_poscar,
}


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
            # Somebody's own file may have that name.
            oblique = batch.file in C2DB_TABLES and row.values.get("source") == C2DB_SOURCE
            crystal = read_crystal(row, oblique=oblique)
            name = crystal["reference_id"]
            if name in crystals:
                raise ValueError(f"row {crystals[name][0]} has the same id")
            document = reference_structures.encode(batch.collection, crystal | place)
            crystals[name] = (row.number, document)
        except FAULTS as error:
            bad.append(BadRow(row.number, row.id, _reason(error)))
    return BatchResult(replace(batch, rows=()), len(batch.rows), crystals, bad)


def _reason(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0]
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"


def read_crystal(row: Row, *, oblique: bool = False) -> dict[str, Any]:
    """Read one row as the fields of a stored crystal.

    Args:
        row: The row.
        oblique: Its table writes coordinates of oblique cells as those of C2DB do
            (`model.data.c2db`).

    Raises:
        ValueError, LookupError, TypeError: It is no crystal.
    """
    from pymatgen.core import Structure

    name, text, values = _crystal_text(row)
    if not name:
        raise ValueError("it has no material_id")
    lattice, species, positions = _cell(text, oblique=oblique)
    formula, elements = _formula(tuple(sorted(species)))
    told = values.get("formula") if row.form is Form.TABLE else None
    if told and formula_of(told) != formula:
        raise ValueError(f"the formula is {told}, but the crystal is {formula}")
    record = {"lattice": lattice, "species": species, "frac_coords": positions}
    return {
        "reference_id": name,
        "formula": formula,
        "chemical_system": "-".join(elements),
        "elements": list(elements),
        "n_atoms": len(species),
        "structure": record,
        "source": str(values["source"]) if values.get("source") else None,
        "checksum": hashlib.sha256(text.encode()).hexdigest()[:16],
        "properties": properties(values),
        **_fingerprint(Structure(lattice, species, positions)),
    }


def _crystal_text(row: Row) -> tuple[str, str, Mapping[str, Any]]:
    """Return id, JSON of the data folder, and what stands beside the crystal."""
    if row.form is Form.UNREADABLE:
        raise ValueError(row.values["text"])
    if row.form is Form.PYMATGEN:
        return row.id, pymatgen_text(row.values["structure"]), row.values
    if row.form is Form.TABLE and "structure" in row.values:
        return row.id, row.values["structure"], row.values
    read, text = _READERS[row.form], row.values["cif" if row.form is Form.TABLE else "text"]
    (entry,) = read(text, row.id)
    if isinstance(entry.crystal, str):
        raise ValueError(entry.crystal)
    return entry.id, crystal_text(entry.crystal), {**row.values, **entry.values}


def _cell(
    text: str, *, oblique: bool = False
) -> tuple[list[list[float]], list[str], list[list[float]]]:
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
    if oblique:
        cell = np.array(record["cell"], dtype=float)
        positions = fractional(np.array(positions, dtype=float), cell).tolist()
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

    Lists and tables beside a crystal are not kept. Names are those of the table, but for `NAMES`,
    and with "_" for ".".
    """
    found = {}
    for name, value in values.items():
        if not isinstance(name, str) or name in NOT_PROPERTIES:
            continue
        kept, read = NAMES.get(name, name).replace(".", "_").lstrip("$"), _number(value)
        if kept and read is not None:
            found[kept] = read
    return found


def _number(value: Any) -> bool | int | float | str | None:
    """Return a value as it is stored; None if it is not."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) < LARGEST_INT):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if not isinstance(value, str) or value == "":
        return None
    for kind in (int, float):
        try:
            number = kind(value)
        except ValueError:
            continue
        return _number(number)
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
