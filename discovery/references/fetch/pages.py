"""Pages of a source that delivers its crystals in parts: kept on disk until all are there."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from discovery.references.fetch.layout import (
    Card,
    new_tables,
    now,
    sha256_of,
    write_card,
    write_table,
)
from discovery.references.fetch.session import FetchFailed, place
from discovery.references.fetch.source import PINNED, FetchReport, LeftOut, Request


@dataclass(frozen=True)
class Page:
    """One answer of a source.

    Attributes:
        rows: Rows of the table (`discovery.references.fetch.layout.row`).
        left_out: Id and reason of what could not be used.
        next: Where the next page is, as the source says; None after the last one.
    """

    rows: list[dict[str, Any]]
    left_out: list[tuple[str, str]]
    next: Any = None


class PageStore:
    """Pages in the order they came, one a line, so that a kill costs at most the last one.

    Attributes:
        path: The file.
        count: Crystals in it, used or left out.
        last: The last page; None if there is none yet.
    """

    def __init__(self, path: Path, question: Mapping[str, Any]) -> None:
        """Open the pages of a question, or begin anew where those are another's.

        Args:
            path: The file; its folder is made.
            question: What was asked, of whom: plain JSON.
        """
        self.path = path
        self.count = 0
        self.last: Page | None = None
        self._heading = json.dumps(question, sort_keys=True).encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = self._whole()
        if whole:
            with path.open("r+b") as file:
                file.truncate(whole)
            for page in self.pages():
                self.count += len(page.rows) + len(page.left_out)
                self.last = page
        else:
            path.write_bytes(self._heading + b"\n")

    def _whole(self) -> int:
        """Return the bytes up to the last whole line; 0 if it is another question's file."""
        if not self.path.exists():
            return 0
        size = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                if not line.endswith(b"\n") or (number == 0 and line[:-1] != self._heading):
                    break
                size += len(line)
        return size

    def append(self, page: Page) -> None:
        """Keep a page; it is on disk afterwards."""
        with self.path.open("ab") as file:
            file.write(json.dumps(asdict(page)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.count += len(page.rows) + len(page.left_out)
        self.last = page

    def pages(self) -> Iterator[Page]:
        """Read the pages."""
        with self.path.open("rb") as file:
            next(file)
            for line in file:
                read = json.loads(line)
                yield Page(read["rows"], [tuple(one) for one in read["left_out"]], read["next"])

    def sha256(self) -> str:
        """Return a checksum of the crystals: of ids and structures, in their order."""
        digest = hashlib.sha256()
        for page in self.pages():
            for row in page.rows:
                digest.update(f"{row['material_id']}\0{row['structure']}\n".encode())
        return digest.hexdigest()

    def write(
        self, request: Request, table: Path, address: str, version: str, columns: Sequence[str]
    ) -> FetchReport:
        """Make the table of pages that are all there, and remove them.

        Args:
            request: What was asked for.
            table: The table.
            address: Where the pages came from.
            version: Version of the collection.
            columns: Names of the properties.

        Raises:
            FetchFailed: The crystals are not those that were expected.
        """
        digest, left_out = self.sha256(), LeftOut()
        for page in self.pages():
            left_out.add(page.left_out)
        pin = request.pins.get(request.name)
        if pin not in (None, digest):
            raise FetchFailed(f"the crystals have sha256 {digest}, expected {pin}")
        if self.count == left_out.n:
            raise FetchFailed(f"{place(address)} has no crystal; {left_out.n} were left out")
        with new_tables([table]) as (part,):
            count = write_table(part, columns, (one for page in self.pages() for one in page.rows))
            card = Card(
                name=request.name,
                address=address,
                retrieved=now(),
                version=version,
                sha256=digest,
                trusted=PINNED if pin else "not published",
                table_sha256=sha256_of(part),
                rows=count,
                left_out=left_out.kept,
                n_left_out=left_out.n,
            )
            write_card(table, card)
        self.path.unlink()
        return FetchReport(request.name, (table,), (card,))
