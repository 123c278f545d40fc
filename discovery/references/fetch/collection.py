"""Fetching one collection by name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

from db.locks import FileLock
from db.suggestion import did_you_mean
from discovery.references.fetch import cdvae, jarvis, materials_project, optimade
from discovery.references.fetch.layout import Card, data_folder
from discovery.references.fetch.session import FetchFailed
from discovery.references.fetch.source import SHA256, FetchProgress, FetchReport, Request
from discovery.references.sources import SOURCES, fetched_card, is_as_fetched, unlike_its_card

SOURCES_BY_NAME: dict[str, ModuleType] = {
    **dict.fromkeys(cdvae.SETS, cdvae),
    "mp": materials_project,
    "c2db": jarvis,
}
OPTIMADE = "optimade"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class FetchRefused(ValueError):
    """What is asked for cannot be fetched that way."""

    exit_code = 2


def tables_of(name: str, folder: Path) -> list[Path]:
    """Return the tables that fetching a collection makes."""
    if name not in SOURCES:
        return [folder / f"{name}.csv.gz"]
    source = SOURCES[name]
    return [folder / table.file for table in source.fetched or source.tables]


def parse_pins(given: Sequence[str]) -> dict[str, str]:
    """Read ``FILE=SHA256``.

    Raises:
        FetchRefused: It is not that.
    """
    pins = {}
    for one in given:
        file, _, digest = one.rpartition("=")
        if not file or not SHA256.fullmatch(digest.lower()):
            raise FetchRefused(f"--sha256 {one!r} is not FILE=HEX with 64 hexadecimal digits")
        pins[file] = digest.lower()
    return pins


def fetch(
    name: str,
    *,
    address: str | None = None,
    pins: Mapping[str, str] | None = None,
    force: bool = False,
    filter: str | None = None,
    fields: Sequence[str] = (),
    most: int = 0,
    progress: Callable[[FetchProgress], None] = lambda progress: None,
    processes: int = Request.processes,
) -> FetchReport:
    """Fetch a collection into the data folder; interrupted and repeated, it continues.

    Args:
        name: A known one, or what the crystals of an OPTIMADE provider shall be called.
        address: Base address instead of the official one; of an OPTIMADE provider its base URL.
        pins: Expected SHA-256 by file.
        force: Fetch it again though it is there.
        filter: OPTIMADE filter; makes `address` a provider.
        fields: Further properties of an OPTIMADE provider.
        most: Crystals of an OPTIMADE provider after which to stop; 0: all.
        progress: Told how far it is.
        processes: Processes that convert.

    Returns:
        The tables and where they came from.

    Raises:
        FetchRefused: There is no such source, or the tables there were not fetched.
        FetchFailed, DownloadFailed: The source did not deliver.
    """
    if filter is None and name not in SOURCES_BY_NAME:
        raise FetchRefused(
            f"there is no source {name!r}: known are {', '.join(SOURCES_BY_NAME)} and {OPTIMADE}."
            f"{did_you_mean(name, (*SOURCES_BY_NAME, OPTIMADE))}"
        )
    if filter is not None and (name in SOURCES or not NAME.fullmatch(name)):
        raise FetchRefused(f"{name!r} cannot be the name of a provider's crystals: use --name")
    taken = {table.file for one in SOURCES.values() for table in (*one.tables, *one.fetched)}
    if filter is not None and f"{name}.csv.gz" in taken:
        raise FetchRefused(f"{name}.csv.gz is a table of a known collection: use another --name")
    if filter:
        _check_filter(filter)
    if filter is None:
        address = address or os.environ.get(SOURCES_BY_NAME[name].ADDRESS_VARIABLE) or None
    if address is not None:
        _check_address(address)
    folder = data_folder()
    tables = tables_of(name, folder)
    there = [table for table in tables if table.exists()]
    cards = [fetched_card(table) for table in there]
    if not force and (other := [table for table in there if not is_as_fetched(table)]):
        raise FetchRefused(f"{unlike_its_card(other[0])}: --force fetches it again")
    if not force and len(there) == len(tables):
        return FetchReport(name, tuple(tables), tuple(Card(**c) for c in cards if c), already=True)
    if None in cards:
        raise FetchRefused(
            f"{there[cards.index(None)]} is there and was not fetched by this program: move it "
            "away, or set DISCOVERY_DATA to another folder"
        )
    request = Request(name, folder, address, dict(pins or {}), progress, processes, again=force)
    try:
        request.work.mkdir(parents=True, exist_ok=True)
        lock = FileLock(request.work / "lock")
        if not lock.acquire(shared=False):
            raise FetchFailed(f"{name} is being fetched by another process")
    except OSError as error:
        raise FetchRefused(
            f"{folder} cannot be written ({error.strerror}): set DISCOVERY_DATA to a folder of "
            "your own"
        ) from error
    try:
        if filter is not None:
            return optimade.fetch(request, filter, fields, most)
        source = SOURCES_BY_NAME[name]
        report: FetchReport = source.fetch(request)
        return report
    except OSError as error:
        raise FetchFailed(
            f"cannot write to {folder} ({error.strerror or error}): what came is kept"
        ) from error
    finally:
        lock.close()


def _check_filter(filter: str) -> None:
    """Refuse what is no filter before anybody is asked."""
    from optimade.exceptions import BadRequest
    from optimade.filterparser import LarkParser

    try:
        LarkParser().parse(filter)
    except BadRequest as error:
        reason = " ".join(str(error.detail).split())[:200]
        raise FetchRefused(f"{filter!r} is no OPTIMADE filter: {reason}") from error


def _check_address(address: str) -> None:
    """Refuse an address that may hold a key: it is written beside every table, and shown."""
    try:
        parts = urlsplit(address)
    except ValueError:
        raise FetchRefused("the address is none") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise FetchRefused(
            f"the address at {parts.hostname} has a user, a password or a query: addresses are "
            "recorded, so give it without; keys are for MP_API_KEY alone"
        )
