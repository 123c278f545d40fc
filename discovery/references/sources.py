"""Reference collections that are known by name: their tables, licences and what to cite."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.paths import MissingFile, data_path

SPLITS = ("train", "val", "test")
ROLES = (*SPLITS, "known")
"""What a crystal is in its collection; ``known``: the collection has no splits."""


@dataclass(frozen=True)
class Table:
    """One table of a collection.

    Attributes:
        file: Its name in the data folder.
        role: Role of its crystals (`ROLES`).
    """

    file: str
    role: str = "known"


@dataclass(frozen=True)
class Source:
    """A collection that is known by name.

    Attributes:
        title: What it is.
        version: Version of the collection, unless it was fetched.
        licence: Of the data.
        citation: What to cite.
        tables: Its tables in the data folder.
        fetched: The tables that ``discovery data fetch`` makes, where they are others.
    """

    title: str
    version: str
    licence: str
    citation: str
    tables: tuple[Table, ...]
    fetched: tuple[Table, ...] = ()

    @property
    def source(self) -> str:
        """Where it comes from, with licence and citation, as it is recorded."""
        return f"{self.title}, {self.licence}, {self.citation}"


def _splits(name: str) -> tuple[Table, ...]:
    return tuple(Table(f"{name}_{split}.csv.gz", split) for split in SPLITS)


SOURCES: dict[str, Source] = {
    "mp": Source(
        title="Materials Project",
        version="v2025.02.12 without GNoME",
        licence="CC BY 4.0",
        citation="doi 10.1063/1.4812323",
        tables=(Table("mp_ref2025_le20.csv.gz"), Table("mp_ref2025_gt20.csv.gz")),
        fetched=(Table("mp_api.csv.gz"),),
    ),
    "mp20": Source(
        title="MP-20",
        version="split of CDVAE, 88 training crystals without coordinates left out",
        licence="CC BY 4.0",
        citation="doi 10.1063/1.4812323, arXiv 2110.06197",
        tables=_splits("mp20"),
    ),
    "perov5": Source(
        title="Perov-5",
        version="split of CDVAE",
        licence="licence not stated in the source",
        citation="doi 10.1039/C2EE22341D, arXiv 2110.06197",
        tables=_splits("perov5"),
    ),
    "carbon24": Source(
        title="Carbon-24",
        version="split of CDVAE",
        licence="open access",
        citation="doi 10.24435/materialscloud:2020.0026/v1, arXiv 2110.06197",
        tables=_splits("carbon24"),
    ),
    "c2db": Source(
        title="C2DB",
        version="4,033 monolayers, split 3,533 / 250 / 250, oblique cells repaired",
        licence="licence not stated in the source",
        citation="doi 10.1088/2053-1583/aacfc1, doi 10.1088/2053-1583/ac1059",
        tables=_splits("c2db"),
        fetched=(Table("c2db_jarvis.csv.gz"),),
    ),
}


@dataclass(frozen=True)
class Located:
    """The tables of a collection on this machine.

    Attributes:
        tables: Path and role of each.
        version: Version of the collection.
        source: Where it comes from, with licence and citation.
        retrieved: When and from where it was fetched; empty if it was not.
    """

    tables: tuple[tuple[Path, str], ...]
    version: str
    source: str
    retrieved: str = ""


def locate(name: str) -> Located:
    """Find the tables of a collection: those of its list, else those that were fetched.

    Raises:
        MissingFile: A table is in no searched folder (`agents.paths`).
    """
    source = SOURCES[name]
    try:
        tables = _found(source.tables)
    except MissingFile as error:
        try:
            tables = _found(source.fetched) if source.fetched else ()
        except MissingFile:
            tables = ()
        if not tables:
            raise MissingFile(f"{error}, or run `discovery data fetch {name}`") from None
    return described(tables, source.version, source.source)


def locate_fetched(name: str) -> Located | None:
    """Find a table that ``discovery data fetch`` made under a name of the user's; None: none.

    Raises:
        MissingFile: It is not the table that its card describes.
    """
    table = _fetched_table(name)
    return None if table is None else described(((table, "known"),), "", "OPTIMADE")


def is_fetched(name: str) -> bool:
    """Say whether ``discovery data fetch`` made a table under a name of the user's."""
    return _fetched_table(name) is not None


def _fetched_table(name: str) -> Path | None:
    try:
        table = data_path(f"{name}.csv.gz")
    except MissingFile:
        return None
    return table if fetched_card(table) is not None else None


def described(tables: tuple[tuple[Path, str], ...], version: str, source: str) -> Located:
    """Describe tables, by their card where they were fetched.

    Raises:
        MissingFile: A table is not the one that its card describes.
    """
    for table, _ in tables:
        if not is_as_fetched(table):
            raise MissingFile(
                f"{unlike_its_card(table)}: `discovery data fetch --force` makes it again"
            )
    card = fetched_card(tables[0][0])
    if card is None:
        return Located(tables, version, source)
    retrieved = f"{card['retrieved']} from {card['address']}"
    return Located(tables, card["version"], source, retrieved)


def _found(tables: tuple[Table, ...]) -> tuple[tuple[Path, str], ...]:
    return tuple((data_path(table.file), table.role) for table in tables)


def card_path(table: Path) -> Path:
    """Return where the origin of a fetched table is written."""
    return table.with_name(table.name.removesuffix(".csv.gz") + ".fetched.json")


def fetched_card(table: Path) -> dict[str, Any] | None:
    """Return what ``discovery data fetch`` noted of a table, or None if it did not make it."""
    path = card_path(table)
    if not path.is_file():
        return None
    card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return card


def is_as_fetched(table: Path) -> bool:
    """Say whether a table is the one that its card describes; one without a card is."""
    card = fetched_card(table)
    if card is None or not table.is_file():
        return card is None
    with table.open("rb") as stream:
        return bool(hashlib.file_digest(stream, "sha256").hexdigest() == card["table_sha256"])


def unlike_its_card(table: Path) -> str:
    """Say why a table is not believed."""
    return (
        f"{table} is not the table that {card_path(table).name} describes (fetching it was killed, "
        "or it was changed)"
    )


def known_sources() -> list[dict[str, Any]]:
    """List the collections known by name, and whether their tables are found.

    Returns:
        ``name``, ``title``, ``version``, ``licence``, ``citation``, ``files`` (paths), their
        ``folder`` (None: not found) and a ``note`` in words.
    """
    listed = []
    for name, source in SOURCES.items():
        found: dict[str, Any] = {"version": source.version, "files": [], "folder": None}
        fields = {"title": source.title, "licence": source.licence, "citation": source.citation}
        try:
            located = locate(name)
        except MissingFile as error:
            found["note"] = str(error)
        else:
            folder = str(located.tables[0][0].parent)
            files = [str(path) for path, _ in located.tables]
            found |= {"version": located.version, "files": files, "folder": folder}
            found["note"] = f"found in {folder}"
        listed.append({"name": name, **fields, **found})
    return listed
