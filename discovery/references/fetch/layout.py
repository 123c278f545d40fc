"""Tables in the layout of the data folder: written beside their final name, then moved there."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agents.paths import cache_path
from discovery.references.sources import card_path

FIRST = ("material_id", "formula", "natoms")
LAST = ("source", "structure")
REASONS_KEPT = 100


@dataclass(frozen=True)
class Card:
    """What is noted of a fetched table.

    Attributes:
        name: Name of the collection.
        address: Where it came from.
        retrieved: When, ISO 8601.
        version: Version of the collection.
        sha256: Of the file that was downloaded; of all answers' crystals where it came in pages.
        trusted: Whether the checksum was one that was expected, or the first one that was seen.
        table_sha256: Of the table that was made of it.
        rows: Rows of the table.
        left_out: Id and reason of what could not be used; the first ones.
        n_left_out: How many these were.
    """

    name: str
    address: str
    retrieved: str
    version: str
    sha256: str
    trusted: str
    table_sha256: str
    rows: int
    left_out: Sequence[tuple[str, str]]
    n_left_out: int


def data_folder() -> Path:
    """Return where fetched tables go: ``$DISCOVERY_DATA``, else the user's cache."""
    chosen = os.environ.get("DISCOVERY_DATA")
    return Path(chosen).absolute() if chosen else cache_path("data")


def now() -> str:
    """Return the time, ISO 8601, in whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def formula(species: Iterable[str]) -> str:
    """Return the reduced formula (pymatgen's) of a list of symbols."""
    from pymatgen.core import Composition

    return str(Composition(Counter(species)).reduced_formula)


def row(identifier: str, structure: str, source: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Make a row of a table; values that are not known are left empty."""
    species = json.loads(structure)["species"]
    return {
        **{"material_id": identifier, "formula": formula(species), "natoms": len(species)},
        **{name: value for name, value in values.items() if value is not None},
        **{"source": source, "structure": structure},
    }


@contextmanager
def new_tables(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Give names beside the final ones, and move all files to these when everything worked.

    Raises:
        OSError: They cannot be written.
    """
    parts = [path.with_name(f"{path.name}.part") for path in paths]
    with ExitStack() as stack:
        for part in parts:
            stack.callback(part.unlink, missing_ok=True)
        yield parts
        for part, path in zip(parts, paths, strict=True):
            part.replace(path)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows as ``csv.gz``, the same bytes for the same rows.

    Args:
        path: The file.
        columns: Names of properties; the columns that all tables have come before and after them.
        rows: As from `row`.

    Returns:
        How many there were.
    """
    count = 0
    with path.open("wb") as file:
        with (
            gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,
            io.TextIOWrapper(packed, encoding="utf-8", newline="") as stream,
        ):
            table = csv.DictWriter(stream, (*FIRST, *columns, *LAST), restval="")
            table.writeheader()
            for one in rows:
                table.writerow(one)
                count += 1
        file.flush()
        os.fsync(file.fileno())
    return count


def write_card(table: Path, card: Card) -> None:
    """Note the origin of a table beside it."""
    path = card_path(table)
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(asdict(card), indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def sha256_of(path: Path) -> str:
    """Return the checksum of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
