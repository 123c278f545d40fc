"""MP-20, Perov-5 and Carbon-24 with the splits of CDVAE (arXiv 2110.06197), from its repository."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from discovery.references.fetch.layout import (
    Card,
    new_tables,
    now,
    row,
    sha256_of,
    write_card,
    write_table,
)
from discovery.references.fetch.session import FetchFailed
from discovery.references.fetch.source import (
    FetchProgress,
    FetchReport,
    LeftOut,
    Request,
    check_against_before,
    downloaded,
    remove_downloaded,
)
from discovery.references.ordered_pool import in_order
from discovery.references.sources import SPLITS
from discovery.references.structure_json import crystal_text
from model.data.formats import bad_entry, read_cif, reason

ADDRESS = "https://raw.githubusercontent.com/txie-93/cdvae/main/data"
ADDRESS_VARIABLE = "DISCOVERY_CDVAE_URL"
LARGEST = 2 << 30
"""Bytes of one file."""
CHUNK = 100
"""Rows that are converted together."""
NOT_KEPT = frozenset({"", "material_id", "cif", "formula", "pretty_formula", "elements"})
NAMES = {"spacegroup.number": "spacegroup_official"}


@dataclass(frozen=True)
class CdvaeSet:
    """One data set of the repository.

    Attributes:
        folder: Its folder there.
        rows: Rows of the files of each split; a file with other numbers broke off.
        source: What is written beside every crystal.
    """

    folder: str
    rows: Mapping[str, int]
    source: str


SETS = {
    "mp20": CdvaeSet("mp_20", dict(zip(SPLITS, (27_136, 9_047, 9_046))), "official"),
    "perov5": CdvaeSet(
        "perov_5", dict(zip(SPLITS, (11_356, 3_787, 3_785))), "perov-5 (Castelli/CMR)"
    ),
    "carbon24": CdvaeSet(
        "carbon_24", dict(zip(SPLITS, (6_091, 2_032, 2_030))), "carbon-24 (Pickard AIRSS)"
    ),
}


def fetch(request: Request) -> FetchReport:
    """Fetch the three splits of a data set.

    Raises:
        DownloadFailed: A file could not be fetched.
        FetchFailed: A file is not what it should be.
    """
    chosen = SETS[request.name]
    base = f"{(request.address or ADDRESS).rstrip('/')}/{chosen.folder}"
    tables = [request.folder / f"{request.name}_{split}.csv.gz" for split in SPLITS]
    cards = []
    with new_tables(tables) as parts:
        for split, table, part in zip(SPLITS, tables, parts, strict=True):
            file = f"{split}.csv"
            raw = downloaded(request, f"{base}/{file}", file, LARGEST)
            digest = sha256_of(raw)
            try:
                trusted = check_against_before(table, file, digest, request.pins)
            except FetchFailed:
                remove_downloaded(raw)
                raise
            left_out = LeftOut()
            columns = [name for name in _columns(raw) if name not in NOT_KEPT]
            rows = _converted(request, raw, columns, chosen, chosen.rows[split], left_out)
            count = write_table(part, [NAMES.get(name, name) for name in columns], rows)
            if count + left_out.n != chosen.rows[split]:
                remove_downloaded(raw)
                raise FetchFailed(
                    f"{base}/{file} has {count + left_out.n} rows instead of {chosen.rows[split]}"
                )
            cards.append(
                Card(
                    name=request.name,
                    address=f"{base}/{file}",
                    retrieved=now(),
                    version=f"split of CDVAE, {base}",
                    sha256=digest,
                    trusted=trusted,
                    table_sha256=sha256_of(part),
                    rows=count,
                    left_out=left_out.kept,
                    n_left_out=left_out.n,
                )
            )
        for table, card in zip(tables, cards, strict=True):
            write_card(table, card)
    for split in SPLITS:
        remove_downloaded(request.work / f"{split}.csv")
    return FetchReport(request.name, tuple(tables), tuple(cards))


def _columns(raw: Path) -> list[str]:
    """Return the columns of a file.

    Raises:
        FetchFailed: They are not those of the data set.
    """
    try:
        with raw.open(encoding="utf-8", newline="") as stream:
            columns = next(csv.reader(stream), [])
    except (UnicodeDecodeError, csv.Error):
        columns = []
    if not {"material_id", "cif"} <= set(columns):
        remove_downloaded(raw)
        raise FetchFailed(f"{raw.name} is not a table with the columns material_id and cif")
    return columns


def _converted(
    request: Request,
    raw: Path,
    columns: list[str],
    chosen: CdvaeSet,
    total: int,
    left_out: LeftOut,
) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(1 << 24)
    done = 0
    try:
        with raw.open(encoding="utf-8", newline="") as stream:
            # Strict: a file that ends within quotes is damaged.
            chunks = _chunks(csv.DictReader(stream, strict=True), columns, chosen.source)
            for rows, reasons in in_order(_convert, chunks, request.processes):
                left_out.add(reasons)
                yield from rows
                done += len(rows) + len(reasons)
                request.progress(FetchProgress(raw.name, done, total, "crystals"))
    except (UnicodeDecodeError, csv.Error) as error:
        remove_downloaded(raw)
        raise FetchFailed(f"{raw.name} is damaged: {error}") from error


@dataclass(frozen=True)
class _Chunk:
    """Rows of a file that are converted together: id, CIF and properties."""

    rows: tuple[tuple[str, str, dict[str, str]], ...]
    source: str


def _chunks(rows: Iterable[Mapping[str, str]], columns: list[str], source: str) -> Iterator[_Chunk]:
    wanted = (
        (
            *(one["material_id"] or "", one["cif"] or ""),
            {NAMES.get(name, name): one[name] for name in columns},
        )
        for one in rows
    )
    while chunk := tuple(islice(wanted, CHUNK)):
        yield _Chunk(chunk, source)


def _convert(chunk: _Chunk) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Convert rows; return what is no crystal as ids and reasons."""
    rows, left_out = [], []
    for name, cif, values in chunk.rows:
        try:
            if not name:
                raise ValueError("it has no material_id")
            (entry,) = read_cif(cif, name)
            if isinstance(entry.crystal, str):
                raise ValueError(entry.crystal)
            rows.append(row(name, crystal_text(entry.crystal), chunk.source, values))
        except bad_entry() as error:
            left_out.append((name, reason(error)))
    return rows, left_out
