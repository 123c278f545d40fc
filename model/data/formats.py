"""Crystals in the formats people keep them in, entry by entry; a bad entry is a reason."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.data.announced import require_atoms, require_columns
from model.data.canonical import Crystal, check_crystal, crystal_from_structure
from model.data.table import Entry

if TYPE_CHECKING:
    from ase import Atoms

_log = logging.getLogger(__name__)

_FAULTS = (
    *(ValueError, LookupError, TypeError, AttributeError, ArithmeticError),
    *(RuntimeError, AssertionError, OSError, StopIteration, Warning),
)


@lru_cache(maxsize=1)
def bad_entry() -> tuple[type[BaseException], ...]:
    """Return what parsers of crystals raise on bad input; anything else is a fault of ours.

    A function, because an ``except`` asks for it only when there is an exception, and pymatgen,
    whose own kind is no subclass of any other, takes long to import.
    """
    from pymatgen.core.structure import StructureError

    return (*_FAULTS, StructureError)


_LARGEST_FIELD = 2**30  # characters of one CSV field: thousands of atoms exceed Python's limit
_IDS = ("material_id", "id")
# Both are hydrogen to chemistry, but ASE knows no symbols of isotopes.
_ISOTOPE = re.compile(r"^(\s*)[DT](?=\s)")
_CIF_BLOCK = re.compile(r"^(?=data_)", re.MULTILINE | re.IGNORECASE)
_CIF_CELL = re.compile(r"^\s*_cell[_.]length_a\s", re.MULTILINE | re.IGNORECASE)


def reason(error: BaseException) -> str:
    """Return an error as one line for `CrystalTable.skipped`."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Send parsers' warnings to the log, as a folder of thousands of files has thousands."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            for warning in caught:
                _log.info("%s: %s", name, warning.message)


def read_csv(text: str, place: str) -> Iterator[Entry]:
    """Read a CSV with the column structure (JSON) or else cif, and material_id or id.

    Without an id column, rows are named by their number, from 0. The JSON holds cell (Å and
    degrees), species and frac; all cells of a row are its values, as text.

    Args:
        text: content of the file.
        place: what to call it in an error.

    Raises:
        ValueError: if there is no column of structures.
    """
    csv.field_size_limit(_LARGEST_FIELD)
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        columns = reader.fieldnames or ()
    except csv.Error as error:
        raise ValueError(f"{place} is no table: {error}") from error
    if "structure" not in columns and "cif" not in columns:
        raise ValueError(f"{place} needs a column structure or cif; it has {', '.join(columns)}")
    for number, row in enumerate(_rows(reader)):
        if isinstance(row, csv.Error):
            yield Entry(str(number), f"damaged from here on, nothing after it was read: {row}")
            return
        name = next((row[key] for key in _IDS if row.get(key)), str(number))
        try:
            if "structure" in columns:
                yield Entry(name, crystal_from_json(row["structure"]), row)
            else:
                yield Entry(name, _only(read_cif(row["cif"], name)), row)
        except bad_entry() as error:
            yield Entry(name, reason(error))


def _rows(reader: csv.DictReader[str]) -> Iterator[dict[str, str] | csv.Error]:
    """Yield the rows, and as the last one the error that ends them."""
    try:
        yield from reader
    except csv.Error as error:
        yield error


def crystal_from_json(text: str) -> Crystal:
    """Read the JSON of a structure column.

    Raises:
        ValueError, KeyError, TypeError: if it is not a crystal of known elements.
    """
    data = json.loads(text)
    crystal = Crystal(
        numbers=np.array([_atomic_number(symbol) for symbol in data["species"]], dtype=np.int64),
        frac=np.array(data["frac"], dtype=np.float64),
        cell=np.array(data["cell"], dtype=np.float64),
    )
    check_crystal(crystal)
    return crystal


@lru_cache(maxsize=256)
def _atomic_number(symbol: str) -> int:
    from pymatgen.core import Element

    return int(Element(symbol).Z)


def _only(entries: Iterator[Entry]) -> Crystal:
    """Return the one crystal of a text."""
    found = list(entries)
    if len(found) != 1:
        raise ValueError(f"it holds {len(found)} crystals instead of one")
    if isinstance(found[0].crystal, str):
        raise ValueError(found[0].crystal)
    return found[0].crystal


def cif_blocks(text: str) -> list[str]:
    """Cut a CIF into its blocks that have a cell."""
    return [block for block in _CIF_BLOCK.split(text) if _CIF_CELL.search(block)]


def read_cif(text: str, name: str) -> Iterator[Entry]:
    """Read a CIF: the cell as it stands there, one entry a block with a cell.

    Args:
        text: content of the file.
        name: id of its crystal; of several blocks, the id is name:number, from 0.
    """
    from pymatgen.io.cif import CifParser

    blocks = cif_blocks(text)
    if not blocks:
        yield Entry(name, "there is no cell in this CIF")
    for number, block in enumerate(blocks):
        own = name if len(blocks) == 1 else f"{name}:{number}"
        try:
            with _quiet(own):
                parser = CifParser.from_str(block)
                (structure,) = parser.parse_structures(primitive=False, on_error="raise")
            yield Entry(own, crystal_from_structure(structure))
        except bad_entry() as error:
            yield Entry(own, reason(error))


def read_poscar(text: str, name: str) -> Iterator[Entry]:
    """Read a POSCAR; without element symbols (VASP 4) it is no crystal."""
    from pymatgen.io.vasp import Poscar

    try:
        with _quiet(name):
            require_atoms(text)
            poscar = Poscar.from_str(text, read_velocities=False)
        if not poscar.true_names:
            raise ValueError("the POSCAR does not name its elements")
        yield Entry(name, crystal_from_structure(poscar.structure))
    except bad_entry() as error:
        yield Entry(name, reason(error))


def read_xyz(text: str, name: str) -> Iterator[Entry]:
    """Read the frames of an extended xyz file.

    A frame's id is its info material_id or id, else name, or name:number (from 0) if there are
    several. Its values are its info and energy, forces and the like of a calculation.
    A frame without atom count loses the frames after it, as none knows where they begin.
    """
    frames = list(xyz_frames(text))
    for number, frame in enumerate(frames):
        own = name if len(frames) == 1 else f"{name}:{number}"
        try:
            yield _read_frame(frame, own)
        except bad_entry() as error:
            yield Entry(own, reason(error))


def xyz_frames(text: str) -> Iterator[str]:
    """Cut an xyz file into frames; the last one may be damaged."""
    lines = text.split("\n")
    start = 0
    while start < len(lines):
        count = lines[start].strip()
        if not count:  # blank lines between or after frames
            start += 1
            continue
        end = start + 2 + int(count) if count.isdecimal() else len(lines)
        yield "\n".join(lines[start:end])
        start = end


def _read_frame(frame: str, name: str) -> Entry:
    """Read one frame of an extended xyz file."""
    from ase.io.extxyz import read_extxyz

    count, *rest = frame.splitlines()
    if not count.strip().isdecimal():
        raise ValueError(f"{count!r} is not a number of atoms; nothing after it can be read")
    if len(rest) < int(count) + 1:
        raise ValueError(f"{count.strip()} atoms announced, {max(len(rest) - 1, 0)} lines follow")
    require_columns(rest[0])
    atoms_lines = [_ISOTOPE.sub(r"\1H", line) for line in rest[1:]]
    content = io.StringIO("\n".join([count, rest[0], *atoms_lines, ""]))
    (atoms,) = read_extxyz(content, index=slice(None))
    values = {**(atoms.calc.results if atoms.calc else {}), **atoms.info}
    own = next((values[key] for key in _IDS if isinstance(values.get(key), str | int)), name)
    return _from_atoms(atoms, str(own), values)


def read_ase_db(path: Path) -> Iterator[Entry]:
    """Read an ase database in the order of its ids; values are the key-value pairs.

    A row's id is its key material_id, else its number in the database.

    Raises:
        ValueError: if the file is not a database.
    """
    import sqlite3

    from ase.db import connect

    try:
        # ASE would turn any other database, or an empty file, into one of its own.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as file:
            file.execute("SELECT id FROM systems LIMIT 1")
        # No lock file: reading needs none, and the folder may be write-protected.
        with connect(path, type="db", use_lock_file=False) as database:
            for row in database.select():
                values = dict(row.key_value_pairs)
                name = str(values.get("material_id", row.id))
                try:
                    yield _from_atoms(row.toatoms(), name, values)
                except bad_entry() as error:
                    yield Entry(name, reason(error))
    except sqlite3.DatabaseError as error:
        raise ValueError(f"{path} is not an ase database: {error}") from error


def _from_atoms(atoms: Atoms, name: str, values: Mapping[str, Any]) -> Entry:
    """Turn ASE's atoms into an entry; slabs and chains count as crystals of their cell."""
    if atoms.cell.rank < 3 or not atoms.pbc.any():
        raise ValueError("no periodic cell of three vectors")
    crystal = Crystal(
        numbers=np.asarray(atoms.numbers, dtype=np.int64),
        frac=np.asarray(atoms.get_scaled_positions(wrap=False), dtype=np.float64),
        cell=np.asarray(atoms.cell.cellpar(), dtype=np.float64),
    )
    check_crystal(crystal)
    return Entry(name, crystal, values)
