"""What every source of reference collections is given and gives back."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from discovery.fetch.layout import REASONS_KEPT, Card
from discovery.fetch.session import FetchFailed
from discovery.reference_sources import fetched_card

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
    """

    name: str
    folder: Path
    address: str | None = None
    pins: Mapping[str, str] = field(default_factory=dict)
    progress: Callable[[FetchProgress], None] = lambda progress: None
    processes: int = min(2, os.cpu_count() or 1)

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
