"""Importing reference collections: from tables of the data folder into the database."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from db import reference_structures

#: Rows between two writes; what a kill can cost at most.
BATCH = 500
COLUMNS = ("material_id", "formula", "structure")
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class ImportRefused(ValueError):
    """A table cannot be imported."""

    exit_code = 2


@dataclass(frozen=True)
class Source:
    """A collection that is known by name.

    Attributes:
        files: Its tables in the data folder.
        version: Version of the collection.
        source: Where it comes from, with licence and citation.
    """

    files: tuple[str, ...]
    version: str
    source: str


SOURCES: dict[str, Source] = {
    "mp": Source(
        files=("mp_ref2025_le20.csv.gz", "mp_ref2025_gt20.csv.gz"),
        version="v2025.02.12 without GNoME",
        source="Materials Project, CC BY 4.0, doi 10.1063/1.4812323",
    ),
}


@dataclass(frozen=True)
class BadRow:
    """A row that was left out.

    Attributes:
        row: Its number, from 1 for the first below the heading.
        id: Its id, as far as it has one.
        reason: What is wrong with it.
    """

    row: int
    id: str
    reason: str


@dataclass(frozen=True)
class ImportReport:
    """What one import did.

    Attributes:
        name: The collection.
        read: Rows read now.
        skipped: Rows that an earlier import had read.
        bad: Rows left out, of all imports of these files.
        n: Crystals in the collection.
    """

    name: str
    read: int
    skipped: int
    bad: tuple[BadRow, ...]
    n: int


def known_sources() -> list[dict[str, Any]]:
    """List the collections known by name, and whether their tables are found."""
    from agents.paths import MissingFile, data_path

    listed = []
    for name, source in SOURCES.items():
        try:
            found = [str(data_path(file)) for file in source.files]
            note = f"found in {Path(found[0]).parent}"
        except MissingFile as error:
            found, note = [], str(error)
        listed.append({"name": name, "version": source.version, "files": found, "note": note})
    return listed


def import_reference(
    name_or_file: str,
    *,
    name: str | None = None,
    progress: Callable[[str, int], None] = lambda file, rows: None,
) -> ImportReport:
    """Import a collection; repeated or continued after a kill, it stores every crystal once.

    Args:
        name_or_file: A known name (``mp``), or a ``csv.gz`` in the layout of the data folder, with
            the columns ``material_id``, ``formula`` and ``structure``.
        name: Name of the collection; default: the known name or the file's.
        progress: Told the file and the number of its rows read so far, after every batch.

    Returns:
        What was done.

    Raises:
        ImportRefused: There is no such name or file, or the collection was made from other files.
        MissingFile: A table of a known collection is in no searched folder (`agents.paths`).
    """
    from agents.paths import data_path

    if name_or_file in SOURCES:
        source = SOURCES[name_or_file]
        paths = [data_path(file) for file in source.files]
        chosen, version, origin = name or name_or_file, source.version, source.source
    elif Path(name_or_file).is_file():
        paths = [Path(name_or_file)]
        chosen = name or paths[0].name.removesuffix(".csv.gz").lower()
        version, origin = "", paths[0].name
    else:
        raise ImportRefused(
            f"there is no reference collection or file {name_or_file!r}: known are "
            f"{', '.join(SOURCES)}, or give the path of a csv.gz"
        )
    if not NAME.fullmatch(chosen):
        raise ImportRefused(f"{chosen!r} is not a name of a collection: use a-z, 0-9, . _ and -")
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    _refuse_other_files(chosen, digests)
    version = version or f"sha256 {next(iter(digests.values()))[:12]}"
    read = skipped = 0
    bad: list[BadRow] = []
    for path in paths:
        before, now, wrong = _import_file(
            chosen, path, digests[path.name], progress, version=version, source=origin
        )
        skipped, read, bad = skipped + before, read + now, [*bad, *wrong]
    _finish(chosen, paths[-1].name)
    return ImportReport(chosen, read, skipped, tuple(bad), reference_structures.load(chosen)["n"])


def _refuse_other_files(name: str, digests: Mapping[str, str]) -> None:
    known = {one["name"]: one for one in reference_structures.collections()}.get(name)
    before = {one["file"]: one["sha256"] for one in (known or {"files": []})["files"]}
    other = [file for file, digest in before.items() if digests.get(file) != digest]
    if other:
        raise ImportRefused(
            f"the collection {name} was made from another {', '.join(other)}, and energies were "
            "computed for its crystals: import this one under another name with --name"
        )


def _finish(name: str, file: str) -> None:
    done = reference_structures.progress(name, file)
    assert done is not None  # it was imported
    reference_structures.note_file(name, file, done, complete=True)


def _import_file(
    name: str,
    path: Path,
    digest: str,
    progress: Callable[[str, int], None],
    **fields: str,
) -> tuple[int, int, list[BadRow]]:
    """Import what is missing of one file; return rows skipped, rows read, and bad ones."""
    from agents.tables import read_rows

    before = reference_structures.progress(name, path.name) or {}
    start, bad = int(before.get("read", 0)), [BadRow(**one) for one in before.get("bad", [])]
    if before.get("complete"):
        return start, 0, bad
    rows = read_rows(path)
    try:
        first = next(rows, {})
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ImportRefused(f"{path} is not a csv.gz file: {error}") from error
    if missing := [column for column in COLUMNS if column not in first]:
        raise ImportRefused(f"{path} lacks the columns {', '.join(missing)}")
    count = start
    numbered = enumerate(_chain(first, rows), start=1)
    for batch in _batches(islice(numbered, start, None)):
        crystals = []
        for number, row in batch:
            try:
                crystals.append(_crystal(row))
            except (ValueError, KeyError, TypeError) as error:
                bad.append(BadRow(number, str(row.get("material_id")), str(error)))
        reference_structures.put(name, crystals)
        count += len(batch)
        _note(name, path, digest, count, bad, complete=False, fields=fields)
        progress(path.name, count)
    _note(name, path, digest, count, bad, complete=True, fields=fields)
    return start, count - start, bad


def _note(
    name: str,
    path: Path,
    digest: str,
    read: int,
    bad: Sequence[BadRow],
    *,
    complete: bool,
    fields: Mapping[str, str],
) -> None:
    kept = [vars(one) for one in bad[: reference_structures.BAD_ROWS_KEPT]]
    values = {"sha256": digest, "read": read, "bad": kept, "n_bad": len(bad), "complete": complete}
    reference_structures.note_file(name, path.name, values, **fields)


def _chain(first: dict[str, str], rest: Iterator[dict[str, str]]) -> Iterator[dict[str, str]]:
    yield first
    yield from rest


def _batches(
    rows: Iterator[tuple[int, dict[str, str]]],
) -> Iterator[list[tuple[int, dict[str, str]]]]:
    while batch := list(islice(rows, BATCH)):
        yield batch


def _crystal(row: Mapping[str, str]) -> dict[str, Any]:
    """Read one row as the fields of a stored crystal.

    Raises:
        ValueError: It is no crystal.
    """
    from pymatgen.core import Lattice

    if not row["material_id"]:
        raise ValueError("it has no material_id")
    record = json.loads(row["structure"])
    species, positions = record["species"], record["frac"]
    if not species or len(species) != len(positions):
        raise ValueError(f"{len(species)} species, but {len(positions)} positions")
    numbers = [*record["cell"], *(x for position in positions for x in position)]
    if len(numbers) != 6 + 3 * len(species) or not all(map(math.isfinite, numbers)):
        raise ValueError("cell or positions are not finite numbers")
    lattice = Lattice.from_parameters(*record["cell"])
    if not lattice.volume > 0:
        raise ValueError(f"the cell {record['cell']} has no volume")
    formula, elements = _formula(tuple(sorted(species)))
    if _formula_of(row["formula"]) != formula:
        raise ValueError(f"the formula is {row['formula']}, but the crystal is {formula}")
    return {
        "reference_id": row["material_id"],
        "formula": formula,
        "chemical_system": "-".join(elements),
        "elements": list(elements),
        "n_atoms": len(species),
        "structure": {
            "lattice": lattice.matrix.tolist(),
            "species": species,
            "frac_coords": positions,
        },
        "source": row.get("source") or None,
        "checksum": hashlib.sha256(row["structure"].encode()).hexdigest()[:16],
    }


@lru_cache(maxsize=4096)
def _formula(species: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    from pymatgen.core import Composition, Element

    elements = sorted(set(species))
    for symbol in elements:
        if not Element.is_valid_symbol(symbol):
            raise ValueError(f"{symbol!r} is not an element")
    amounts = {symbol: species.count(symbol) for symbol in elements}
    return Composition(amounts).reduced_formula, tuple(elements)


@lru_cache(maxsize=4096)
def _formula_of(text: str) -> str:
    from pymatgen.core import Composition

    return str(Composition(text).reduced_formula)
