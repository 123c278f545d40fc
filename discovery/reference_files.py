"""Files of known crystals, read row by row: what `discovery data import` takes.

A row is the cells of a table; what reads a crystal from it runs later, perhaps in another process
(`discovery.reference_rows`). So opening a large file is cheap, and rows that were imported before
are passed over without being parsed.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TextIO, cast

from discovery.reference_rows import IDS, Row

#: Characters of one cell of a table: crystals of tens of thousands of atoms.
LARGEST_CELL = 1 << 24
CRYSTALS = ("structure", "cif")
TABLES = (".csv.gz", ".csv")


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
    def _text(self) -> Iterator[TextIO]:
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


class TableRows(Rows):
    """A CSV with a column of crystals."""

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows below the heading."""
        csv.field_size_limit(LARGEST_CELL)
        with self._text() as stream:
            table = csv.DictReader(stream, strict=True)
            columns = table.fieldnames or ()
            lacking = [" or ".join(one) for one in (IDS, CRYSTALS) if not set(one) & set(columns)]
            if lacking:
                raise UnreadableFile(f"{self.path} lacks the columns {', '.join(lacking)}")
            for number, values in enumerate(table, start=1):
                self.position = self._file.tell()
                yield Row(number, values)


def open_rows(path: Path) -> Rows:
    """Open a file of crystals.

    Raises:
        UnreadableFile: It is in no known format.
        OSError: It cannot be read.
    """
    if path.name.lower().endswith(TABLES):
        return TableRows(path)
    raise UnreadableFile(f"{path} is in no known format: {', '.join(TABLES)}")
