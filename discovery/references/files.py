"""Files of known crystals, read row by row: what `discovery data import` takes.

A row is the cells of a table or the text of one crystal; what reads a crystal from it runs later,
perhaps in another process (`discovery.references.rows`). So rows that were imported before are
passed over without being parsed.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TextIO, cast

from discovery.references.rows import IDS, Form, Row
from discovery.references.structure_json import crystal_text
from model.data.formats import cif_blocks, read_ase_db, xyz_frames

#: Characters of one cell of a table: crystals of tens of thousands of atoms.
LARGEST_CELL = 1 << 24
#: Characters of one line, of a table or of JSON lines.
LONGEST_LINE = 1 << 26
#: Characters of a file that is not read row by row.
LARGEST_TEXT = 1 << 30
CRYSTALS = ("structure", "cif")


class UnreadableFile(ValueError):
    """A file is in no format that is known, or is damaged."""


class Rows(ABC):
    """The rows of one file or folder.

    Attributes:
        path: Where it is.
        name: Its name in records.
        sha256: Of its content.
        size: Bytes of it, as stored.
        position: Bytes of it that were read so far, about.
    """

    def __init__(self, path: Path) -> None:
        """Read it once for its checksum.

        Raises:
            OSError: It cannot be read.
        """
        self.path = path
        self.name = path.resolve().name
        self.position = 0
        self.size, self.sha256 = self._digest()

    def _digest(self) -> tuple[int, str]:
        with self.path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            return stream.tell(), digest

    @abstractmethod
    def __iter__(self) -> Iterator[Row]:
        """Yield the rows in their order.

        Raises:
            UnreadableFile: It is damaged; the rows before that were whole.
        """

    @contextmanager
    def _opened(self) -> Iterator[TextIO]:
        """Open it as text, unpacked if it is gzip; faults of reading become `UnreadableFile`."""
        try:
            with self.path.open("rb") as file:
                self._file = file
                packed = self.path.suffix.lower() == ".gz"
                stream = cast(IO[bytes], gzip.GzipFile(fileobj=file)) if packed else file
                # Spreadsheets begin their files with a mark.
                yield io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
            raise UnreadableFile(f"{self.path} is damaged: {error}") from error

    def _text(self) -> str:
        """Read it whole."""
        with self._opened() as stream:
            text = stream.read(LARGEST_TEXT + 1)
        if len(text) > LARGEST_TEXT:
            raise UnreadableFile(f"{self.path} is too long: cut it into parts, or use JSON lines")
        return text.replace("\r\n", "\n")

    @property
    def _stem(self) -> str:
        return self.name.split(".")[0]


def _lines(stream: TextIO, path: Path) -> Iterator[str]:
    """Yield the lines of a text.

    Raises:
        UnreadableFile: One is longer than any crystal.
    """
    while line := stream.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE:
            raise UnreadableFile(f"{path} has a line of more than {LONGEST_LINE >> 20} Mi letters")
        yield line


class TableRows(Rows):
    """A CSV with a column of crystals."""

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows below the heading."""
        csv.field_size_limit(LARGEST_CELL)
        with self._opened() as stream:
            table = csv.DictReader(_lines(stream, self.path), strict=True)
            columns = table.fieldnames or ()
            lacking = [" or ".join(one) for one in (IDS, CRYSTALS) if not set(one) & set(columns)]
            if lacking:
                raise UnreadableFile(f"{self.path} lacks the columns {', '.join(lacking)}")
            for number, values in enumerate(table, start=1):
                self.position = self._file.tell()
                yield Row(number, values)


class JsonLineRows(Rows):
    """JSON lines, each a pymatgen structure or an object that has one."""

    def __iter__(self) -> Iterator[Row]:
        """Yield the lines that are not empty."""
        with self._opened() as stream:
            lines = _lines(stream, self.path)
            for number, line in enumerate(filter(str.strip, lines), start=1):
                self.position = self._file.tell()
                try:
                    yield _json_row(number, str(number), json.loads(line))
                except (ValueError, RecursionError) as error:
                    yield _unreadable(number, str(number), f"it is no JSON: {error}")


class JsonRows(Rows):
    """JSON of pymatgen structures: one, a list, or an object of them by id."""

    def __iter__(self) -> Iterator[Row]:
        """Yield the structures."""
        text = self._text()
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UnreadableFile(f"{self.path} is no JSON: {error}") from error
        if isinstance(document, dict) and not {"sites", "structure"} & set(document):
            named = document.items()
        else:
            several = document if isinstance(document, list) else [document]
            named = {str(number): one for number, one in enumerate(several, start=1)}.items()
        for number, (name, one) in enumerate(named, start=1):
            self.position = self.size * number // len(named)
            yield _json_row(number, name, one)


def _json_row(number: int, name: str, document: Any) -> Row:
    """Make a row of a structure, or of an object with the key ``structure``."""
    if not isinstance(document, Mapping):
        return _unreadable(number, name, "it is no JSON object")
    if "structure" in document:
        return Row(number, document, Form.PYMATGEN, str(document.get("entry_id") or name))
    beside = document.get("properties")
    values = {**beside} if isinstance(beside, Mapping) else {}
    return Row(number, {**values, "structure": document}, Form.PYMATGEN, name)


def _unreadable(number: int, name: str, reason: str) -> Row:
    return Row(number, {"text": reason}, Form.UNREADABLE, name)


class TextRows(Rows):
    """A CIF, extended xyz or POSCAR file."""

    def __iter__(self) -> Iterator[Row]:
        """Yield its blocks or frames; the ids of several are numbered from 1."""
        pieces = list(_pieces(self._stem, self.path, self._text()))
        for row in _numbered(iter(pieces)):
            self.position = self.size * row.number // len(pieces)
            yield row


class AseRows(Rows):
    """An ase database."""

    def __iter__(self) -> Iterator[Row]:
        """Yield its rows."""
        try:
            for number, entry in enumerate(read_ase_db(self.path), start=1):
                if isinstance(entry.crystal, str):
                    yield _unreadable(number, entry.id, entry.crystal)
                else:
                    text = crystal_text(entry.crystal)
                    yield Row(number, {**entry.values, "structure": text, "id": entry.id})
        except ValueError as error:
            raise UnreadableFile(str(error)) from error
        self.position = self.size


class FolderRows(Rows):
    """A folder of CIF, extended xyz and POSCAR files, read recursively, sorted by path."""

    def _digest(self) -> tuple[int, str]:
        self._paths = sorted(
            path
            for path in self.path.rglob("*")
            if path.is_file() and not path.name.startswith(".") and _form(path)
        )
        if not self._paths:
            raise UnreadableFile(f"{self.path} holds no CIF, extended xyz or POSCAR file")
        self._stems = Counter(self._stem_of(path) for path in self._paths)
        digest, size = hashlib.sha256(), 0
        for path in self._paths:
            content = path.read_bytes()
            size += len(content)
            digest.update(path.relative_to(self.path).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(content).digest())
        return size, digest.hexdigest()

    def __iter__(self) -> Iterator[Row]:
        """Yield the crystals of all files; one that cannot be read is one bad row."""
        yield from _numbered(piece for path in self._paths for piece in self._file_pieces(path))

    def _file_pieces(self, path: Path) -> Iterator[tuple[str, Form, str]]:
        stem = self._stem_of(path)
        name = stem if self._stems[stem] == 1 else path.relative_to(self.path).as_posix()
        self.position += path.stat().st_size
        try:
            yield from _pieces(name, path, TextRows(path)._text())
        except (UnreadableFile, OSError) as error:
            yield name, Form.UNREADABLE, str(error)

    def _stem_of(self, path: Path) -> str:
        """Return the path in the folder without what says its format."""
        relative = path.relative_to(self.path)
        for ending in (".gz", *_FORMS):
            if relative.suffix.lower() == ending:
                relative = relative.with_suffix("")
        return relative.as_posix()


def _pieces(name: str, path: Path, text: str) -> Iterator[tuple[str, Form, str]]:
    """Cut a text into id, form and text of each crystal."""
    form = _form(path)
    assert form is not None  # files are chosen by it
    cut: dict[Form, Callable[[str], list[str]]] = {
        Form.CIF: cif_blocks,
        Form.XYZ: lambda whole: list(xyz_frames(whole)),
        Form.POSCAR: lambda whole: [whole],
    }
    pieces = cut[form](text)
    if not pieces:
        yield name, Form.UNREADABLE, f"{path.name} holds no crystal"
    for number, piece in enumerate(pieces, start=1):
        yield name if len(pieces) == 1 else f"{name}:{number}", form, piece


def _numbered(pieces: Iterator[tuple[str, Form, str]]) -> Iterator[Row]:
    for number, (name, form, text) in enumerate(pieces, start=1):
        yield Row(number, {"text": text}, form, name)


def _form(path: Path) -> Form | None:
    """Return what a file's name says of its format; None: no text of crystals."""
    name = path.name.lower().removesuffix(".gz")
    if name.split(".")[0] in ("poscar", "contcar"):
        return Form.POSCAR
    return _FORMS.get(Path(name).suffix)


_FORMS = {
    **{".cif": Form.CIF, ".extxyz": Form.XYZ, ".xyz": Form.XYZ},
    **{".vasp": Form.POSCAR, ".poscar": Form.POSCAR},
}
_KINDS: dict[tuple[str, ...], type[Rows]] = {
    (".csv", ".csv.gz"): TableRows,
    (".jsonl", ".jsonl.gz"): JsonLineRows,
    (".json", ".json.gz"): JsonRows,
    (".db",): AseRows,
}
FORMATS = (*(one for names in _KINDS for one in names), *_FORMS)


def open_rows(path: Path) -> Rows:
    """Open a file or folder of crystals.

    Args:
        path: a ``.csv`` with the column ``structure`` (JSON of the data folder) or ``cif``, and
            ``material_id`` or ``id``; ``.json`` or ``.jsonl`` of pymatgen structures, bare or under
            ``structure``; ``.cif`` with one or more blocks; ``.extxyz``; POSCAR; an ase database
            ``.db``; or a folder of CIF, extended xyz and POSCAR files. Texts may be packed (.gz).

    Raises:
        UnreadableFile: It is none of these.
        OSError: It cannot be read.
    """
    if path.is_dir():
        return FolderRows(path)
    for endings, kind in _KINDS.items():
        if path.name.lower().endswith(endings):
            return kind(path)
    if _form(path) is not None:
        return TextRows(path)
    raise UnreadableFile(f"{path} is in no known format: {', '.join(FORMATS)}, or a folder")
