"""What every source of reference collections is given and gives back."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agents.download import download
from discovery.references.fetch.layout import REASONS_KEPT, Card
from discovery.references.fetch.session import FetchFailed
from discovery.references.sources import fetched_card

SHA256 = re.compile(r"[0-9a-f]{64}")
FIRST_SEEN = "first seen: nobody publishes one"
PINNED = "given with --sha256"
AS_BEFORE = "the same as before"


@dataclass(frozen=True)
class FetchProgress:
    """How far a fetch is.

    Attributes:
        what: File or collection.
        done: Bytes or crystals there are.
        total: How many there will be; None: unknown.
        unit: ``bytes`` or ``crystals``.
    """

    what: str
    done: int
    total: int | None
    unit: str


@dataclass(frozen=True)
class Request:
    """What is to be fetched, and how.

    Attributes:
        name: Name of the collection.
        folder: Where the tables go.
        address: Base address to use instead of the official one.
        pins: Expected SHA-256 of files, by name.
        progress: Told how far it is.
        processes: Processes that convert.
        again: Whether it is fetched though it is there.
    """

    name: str
    folder: Path
    address: str | None = None
    pins: Mapping[str, str] = field(default_factory=dict)
    progress: Callable[[FetchProgress], None] = lambda progress: None
    processes: int = min(2, os.cpu_count() or 1)
    again: bool = False

    @property
    def work(self) -> Path:
        """Folder of what is not whole yet."""
        return self.folder / ".fetching" / self.name


@dataclass(frozen=True)
class FetchReport:
    """What a fetch did.

    Attributes:
        name: The collection.
        tables: Its tables.
        cards: What was noted of each.
        already: They were there before; nothing was fetched.
    """

    name: str
    tables: tuple[Path, ...]
    cards: tuple[Card, ...]
    already: bool = False


def downloaded(request: Request, address: str, file: str, largest: int) -> Path:
    """Download a file into the folder of what is not whole yet; continue what was interrupted.

    What an earlier call downloaded is taken if it came from the same address, and is not to be
    fetched again.

    Args:
        request: What is fetched.
        address: Of the file.
        file: Its name here.
        largest: Bytes that are accepted.

    Raises:
        DownloadFailed: It could not be fetched.
    """
    raw, origin = request.work / file, request.work / f"{file}.from"
    if not origin.exists() or origin.read_text(encoding="utf-8") != address:
        for name in (file, f"{file}.part", f"{file}.part.etag"):
            (request.work / name).unlink(missing_ok=True)
        origin.write_text(address, encoding="utf-8")
    if raw.exists() and not request.again:
        return raw
    return download(
        [address],
        raw,
        sha256=request.pins.get(file),
        progress=lambda done, total: request.progress(FetchProgress(file, done, total, "bytes")),
        largest=largest,
    )


def remove_downloaded(raw: Path) -> None:
    """Remove a file that was used, or is not what it should be."""
    raw.unlink(missing_ok=True)
    raw.with_name(f"{raw.name}.from").unlink(missing_ok=True)


class LeftOut:
    """Counts what cannot be used, and keeps the first ones with their reasons."""

    def __init__(self) -> None:
        self.n = 0
        self.kept: list[tuple[str, str]] = []

    def add(self, reasons: Sequence[tuple[str, str]]) -> None:
        """Add ids and reasons."""
        self.n += len(reasons)
        self.kept = [*self.kept, *reasons][:REASONS_KEPT]


def check_against_before(table: Path, file: str, found: str, pins: Mapping[str, str]) -> str:
    """Decide why a checksum that nobody published is believed.

    Args:
        table: The table that was or will be made.
        file: Name of the file that was downloaded.
        found: Its SHA-256.
        pins: Expected ones, by name.

    Returns:
        Why: it was given, it is the one that was seen before, or it is the first one.

    Raises:
        FetchFailed: It is another one.
    """
    if file in pins:
        if pins[file] != found:
            raise FetchFailed(f"{file} has sha256 {found}, expected {pins[file]}")
        return PINNED
    card = fetched_card(table)
    if card is None:
        return FIRST_SEEN
    if card["sha256"] != found:
        raise FetchFailed(
            f"{file} is not the file that was fetched {card['retrieved']}: its sha256 was "
            f"{card['sha256']} and is {found} now; --sha256 {file}={found} accepts it"
        )
    return AS_BEFORE
