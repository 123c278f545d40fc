"""People's own crystals: tables, folders, files, databases and lists, read into one table."""

from __future__ import annotations

import hashlib
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.data.c2db import TABLES, repaired
from model.data.canonical import crystal_from_structure
from model.data.formats import (
    bad_entry,
    read_ase_db,
    read_cif,
    read_csv,
    read_poscar,
    read_xyz,
    reason,
)
from model.data.table import CrystalTable, Entry, collect, crystals_hash
from model.errors import MissingDataset
from model.gzip_files import unpack

if TYPE_CHECKING:
    from pymatgen.core import Structure

_log = logging.getLogger(__name__)

_STRUCTURE_READERS: dict[str, Callable[[str, str], Iterator[Entry]]] = {
    ".cif": read_cif,
    ".vasp": read_poscar,
    ".poscar": read_poscar,
    ".extxyz": read_xyz,
    ".xyz": read_xyz,
}
_VASP_NAMES = ("POSCAR", "CONTCAR")


def read_source(
    source: Path | str | Sequence[Structure],
    *,
    labels: Mapping[str, str] | None = None,
    limit: int | None = None,
) -> CrystalTable:
    """Read crystals from wherever people keep them.

    What cannot be read (partial occupancies, unknown elements, no cell, damaged text) is reported
    in `skipped` and stops nothing; the order of the rest is the source's. Deuterium and tritium
    count as hydrogen.

    Args:
        source: one of
            - a .csv or .csv.gz with the column structure (JSON) or cif, and material_id or id;
              the coordinates of one called as a table of C2DB are repaired (`model.data.c2db`);
            - a .cif, .vasp, .poscar, .xyz or .extxyz file, or one called POSCAR or CONTCAR;
            - a folder of these, read recursively and sorted by path; a crystal's id is its path in
              the folder without the extension (with it where two would be the same);
            - an ase database (.db);
            - a list of pymatgen structures, with ids and labels in their `properties`.
        labels: target 'property@level' → column, info key, key of the database or of `properties`.
            What is missing, not a number or not finite becomes NaN.
        limit: read only the first so many crystals.

    Raises:
        MissingDataset: if there is no such file or folder.
        ValueError: if the format is unknown, a target is not 'property@level', or nothing that was
            read carries the key of a label; the message says what there is.
    """
    names = dict(labels or {})
    for target in names:
        if "@" not in target:
            raise ValueError(f"label {target!r} must say its level, as {target}@pbe")
    readers = {target: _NumberReader(key) for target, key in names.items()}
    place = "the list" if not isinstance(source, Path | str) else str(source)
    entries, sha256 = _open(source)
    seen: Counter[str] = Counter()
    table = collect(_counted(entries, seen), readers, sha256=sha256, limit=limit)
    for reader in readers.values():
        if len(table) and reader.key not in seen:
            known = ", ".join(sorted(seen)) or "no values at all"
            raise ValueError(f"nothing in {place} carries {reader.key!r}; there is: {known}")
        if reader.strange:
            _log.warning(
                "%d values of %r in %s are no numbers, for instance %r; they count as missing",
                *(len(reader.strange), reader.key, place, reader.strange[0]),
            )
    if table.skipped:
        _log.warning("%d entries of %s were skipped", len(table.skipped), place)
    return table


class _NumberReader:
    """Reads the label of one key, and keeps what was there but no number.

    Attributes:
        key: column or key of the label.
        strange: values that are not numbers.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self.strange: list[object] = []

    def __call__(self, values: Mapping[str, Any]) -> float:
        value = values.get(self.key)
        if value is None or value == "":
            return math.nan
        try:
            number = float(value)
        except (TypeError, ValueError):
            self.strange.append(value)
            return math.nan
        return number if math.isfinite(number) else math.nan


def _counted(entries: Iterable[Entry], seen: Counter[str]) -> Iterator[Entry]:
    """Pass entries on and count the keys of their values."""
    for entry in entries:
        seen.update(key for key in entry.values if key is not None)
        yield entry


def _open(source: Path | str | Sequence[Structure]) -> tuple[Iterable[Entry], str]:
    """Return a source's entries and its SHA-256."""
    if not isinstance(source, Path | str):
        listed = list(_from_structures(source))
        crystals = [entry.crystal for entry in listed if not isinstance(entry.crystal, str)]
        return listed, crystals_hash(crystals)
    path = Path(source)
    if path.is_dir():
        return _open_folder(path)
    if not path.is_file():
        raise MissingDataset(f"there is no file or folder {path}")
    if path.suffix == ".db":
        return read_ase_db(path), hashlib.sha256(path.read_bytes()).hexdigest()
    payload = path.read_bytes()
    sha256 = hashlib.sha256(payload).hexdigest()
    if path.name.lower().endswith((".csv", ".csv.gz")):
        entries = read_csv(_text(payload, path), str(path))
        return (_repaired(entries) if path.name in TABLES else entries), sha256
    reader = _structure_reader(path)
    if reader is None:
        known = ", ".join([".csv", ".csv.gz", ".db", *_STRUCTURE_READERS, *_VASP_NAMES])
        raise ValueError(f"{path} is in no known format; known are {known}, or a folder")
    return reader(_text(payload, path), _stem(Path(path.name))), sha256


def _repaired(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Read the layers of a table of C2DB as they are meant (`model.data.c2db`)."""
    for entry in entries:
        if isinstance(entry.crystal, str):
            yield entry
            continue
        try:
            yield replace(entry, crystal=repaired(entry.crystal))
        except ValueError as error:
            yield replace(entry, crystal=reason(error))


def _from_structures(structures: Iterable[Structure]) -> Iterator[Entry]:
    """Read pymatgen structures; ids from their properties, else their place in the list."""
    for number, structure in enumerate(structures):
        values = structure.properties or {}
        name = str(values.get("material_id", values.get("id", number)))
        try:
            yield Entry(name, crystal_from_structure(structure), values)
        except bad_entry() as error:
            yield Entry(name, reason(error))


def _open_folder(folder: Path) -> tuple[Iterable[Entry], str]:
    """Return the entries of all structure files below a folder, and a SHA-256 over them."""
    found = sorted(p for p in folder.rglob("*") if p.is_file())
    files = [(path, reader) for path in found if (reader := _structure_reader(path))]
    if not files:
        known = ", ".join([*_STRUCTURE_READERS, *_VASP_NAMES])
        raise ValueError(f"{folder} holds none of {known}")
    digest = hashlib.sha256()
    for path, _ in files:
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return _folder_entries(folder, files), digest.hexdigest()


def _folder_entries(
    folder: Path, files: Sequence[tuple[Path, Callable[[str, str], Iterator[Entry]]]]
) -> Iterator[Entry]:
    """Read the files one after the other."""
    stems = Counter(_stem(path.relative_to(folder)) for path, _ in files)
    for path, reader in files:
        relative = path.relative_to(folder)
        stem = _stem(relative)
        name = stem if stems[stem] == 1 else relative.as_posix()
        try:
            text = _text(path.read_bytes(), path)
        except (OSError, ValueError) as error:
            yield Entry(name, reason(error))
            continue
        yield from reader(text, name)


def _structure_reader(path: Path) -> Callable[[str, str], Iterator[Entry]] | None:
    """Return what reads a file of this name, None if it is no file of crystals."""
    if path.name.startswith("."):  # editors and file servers leave copies under such names
        return None
    if path.name.upper().split(".")[0] in _VASP_NAMES:
        return read_poscar
    return _STRUCTURE_READERS.get(path.suffix.lower())


def _stem(path: Path) -> str:
    """Return a path without the extension that says its format."""
    is_format = path.suffix.lower() in _STRUCTURE_READERS
    return (path.with_suffix("") if is_format else path).as_posix()


def _text(payload: bytes, path: Path) -> str:
    """Return a file's text, unpacked if it is gzip.

    Raises:
        ValueError: if it is neither.
    """
    try:
        if path.suffix == ".gz":
            payload = unpack(payload)
        # Spreadsheets begin with a mark, other systems end lines differently.
        return payload.decode("utf-8-sig").replace("\r\n", "\n")
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
