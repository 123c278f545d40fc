"""C2DB as JARVIS distributes it (the address that jarvis-tools knows as ``c2db``)."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
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
from discovery.references.sources import SOURCES
from discovery.references.structure_json import structure_text

ADDRESS = "https://ndownloader.figshare.com/files"
ADDRESS_VARIABLE = "DISCOVERY_JARVIS_URL"
NUMBER = "28682010"
FILE = "c2db_atoms.json.zip"
MEMBER = "c2db_atoms.json"
LARGEST = 1 << 30
"""Bytes of the file, packed and unpacked."""
PROPERTIES = {"gap": "band_gap", "etot": "total_energy", "wf": "workfunction", "efermi": "efermi"}
"""Keys of an entry, and the names of the table (eV; total energy per cell, PBE)."""


def fetch(request: Request) -> FetchReport:
    """Fetch the monolayers.

    Raises:
        DownloadFailed: The file could not be fetched.
        FetchFailed: It is not what it should be.
    """
    address = f"{(request.address or ADDRESS).rstrip('/')}/{NUMBER}"
    (table,) = (request.folder / one.file for one in SOURCES[request.name].fetched)
    packed = downloaded(request, address, FILE, LARGEST)
    try:
        card = _make_table(request, address, packed, table)
    except FetchFailed:  # it is not what it should be
        remove_downloaded(packed)
        raise
    remove_downloaded(packed)
    return FetchReport(request.name, (table,), (card,))


def _make_table(request: Request, address: str, packed: Path, table: Path) -> Card:
    digest = sha256_of(packed)
    trusted = check_against_before(table, FILE, digest, request.pins)
    entries, left_out = _entries(packed), LeftOut()
    with new_tables([table]) as (part,):
        rows = _rows(entries, left_out, request)
        count = write_table(part, list(PROPERTIES.values()), rows)
        if count == 0:
            raise FetchFailed(f"{address}: none of its {left_out.n} entries is a crystal")
        card = Card(
            name=request.name,
            address=address,
            retrieved=now(),
            version=f"JARVIS, figshare file {NUMBER}",
            sha256=digest,
            trusted=trusted,
            table_sha256=sha256_of(part),
            rows=count,
            left_out=left_out.kept,
            n_left_out=left_out.n,
        )
        write_card(table, card)
    return card


def _entries(packed: Path) -> list[Any]:
    """Read the one file of the archive.

    Raises:
        FetchFailed: It is damaged, too large, or holds something else.
    """
    try:
        with zipfile.ZipFile(packed) as archive, archive.open(MEMBER) as stream:
            content = stream.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise FetchFailed(f"{packed.name} unpacks to more than {LARGEST >> 20} MiB")
        entries = json.loads(content)
    except (zipfile.BadZipFile, KeyError, EOFError, ValueError, RecursionError, OSError) as error:
        raise FetchFailed(f"{packed.name} is not an archive with {MEMBER}: {error}") from error
    if not isinstance(entries, list):
        raise FetchFailed(f"{MEMBER} is no list of crystals")
    return entries


def _rows(entries: list[Any], left_out: LeftOut, request: Request) -> Iterator[dict[str, Any]]:
    for number, entry in enumerate(entries, start=1):
        try:
            yield _row(entry)
        except (ValueError, LookupError, TypeError) as error:
            name = str(entry.get("id")) if isinstance(entry, Mapping) else f"entry {number}"
            left_out.add([(name, f"{type(error).__name__}: {error}")])
        if number % 100 == 0 or number == len(entries):
            request.progress(FetchProgress(MEMBER, number, len(entries), "crystals"))


def _row(entry: Mapping[str, Any]) -> dict[str, Any]:
    atoms = entry["atoms"]
    text = structure_text(
        atoms["lattice_mat"],
        [str(symbol).strip() for symbol in atoms["elements"]],
        atoms["coords"],
        cartesian=bool(atoms["cartesian"]),
    )
    values = {
        ours: entry.get(theirs) for theirs, ours in PROPERTIES.items() if entry.get(theirs) != "na"
    }
    return row(str(entry["id"]), text, "C2DB (JARVIS)", values)
