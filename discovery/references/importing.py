"""Importing reference collections: from tables of the data folder, or a file, into the database."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from agents.screen.duplicates_fingerprint import VERSION as FINGERPRINT_VERSION
from db import reference_collections, reference_structures
from db.suggestion import did_you_mean
from discovery.references.files import Rows, UnreadableFile, open_rows
from discovery.references.ordered_pool import in_order
from discovery.references.rows import BadRow, Batch, BatchResult, read_batch, reading_of
from discovery.references.sources import (
    ROLES,
    SOURCES,
    Located,
    described,
    is_fetched,
    locate,
    locate_fetched,
)

#: Rows between two writes; what a kill can cost at most, once for each process.
BATCH = 500
#: Compressed bytes above which starting processes pays.
LARGE = 500_000
PROCESSES = min(2, os.cpu_count() or 1)
#: Times to begin while others begin with other files.
ATTEMPTS = 5
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class ImportRefused(ValueError):
    """A table cannot be imported."""

    exit_code = 2


@dataclass(frozen=True)
class ImportProgress:
    """How far an import is.

    Attributes:
        collection: The collection.
        file: The table that is being read.
        rows: Rows of it that were read, now and before.
        fraction: Part of all tables that was read, 0 to 1.
        rows_per_second: Rows read now, of all tables, per second.
        seconds_left: Estimate from the bytes read now; None before anything was.
    """

    collection: str
    file: str
    rows: int
    fraction: float
    rows_per_second: float
    seconds_left: float | None


Progress = Callable[[ImportProgress], None]


@dataclass(frozen=True)
class ImportReport:
    """What one import did.

    Attributes:
        name: The collection.
        read: Rows read now.
        skipped: Rows that an earlier import had read.
        bad: Rows left out, of all imports of these files; the first ones of each file.
        n_bad: How many were left out.
        n: Crystals in the collection.
    """

    name: str
    read: int
    skipped: int
    bad: tuple[BadRow, ...]
    n_bad: int
    n: int


def ensure_imported(
    name: str, progress: Progress = lambda progress: None, *, processes: int = PROCESSES
) -> dict[str, Any]:
    """Return a collection with all its fingerprints; a known one is imported on first use.

    Args:
        name: A known name (`SOURCES`), or that of a collection in the database.
        progress: Told how far the import is, after every batch.
        processes: Processes that read.

    Returns:
        `db.reference_collections.load`.

    Raises:
        UnknownCollection: It is neither known nor imported, or was imported from a person's own
            file by an older version.
        MissingFile: A table of a known collection is in no searched folder.
    """
    if name not in SOURCES and not is_fetched(name):
        found = reference_collections.load(name)
        if not is_current(found):
            files = ", ".join(one["file"] for one in found["files"])
            raise reference_collections.OutdatedCollection(
                f"the reference collection {name} was imported by an older version: import "
                f"{files} again with --name {name}"
            )
        return found
    known = reference_collections.describe(name)
    if known and known["complete"] and is_current(known):
        return known
    import_reference(name, progress=progress, processes=processes)
    return reference_collections.load(name)


def is_current(known: dict[str, Any]) -> bool:
    """Say whether a complete collection is as this version would import it."""
    return known["fingerprint_version"] == FINGERPRINT_VERSION and all(
        one.get("reading") == reading_of(one["file"]) for one in known["files"]
    )


def import_reference(
    name_or_file: str,
    *,
    name: str | None = None,
    role: str = "known",
    progress: Progress = lambda progress: None,
    processes: int = PROCESSES,
) -> ImportReport:
    """Import a collection; repeated or continued after a kill, it stores every crystal once.

    What an older version imported is brought up to date: the same crystals, with what they lack.

    Args:
        name_or_file: A known name (`SOURCES`), or a file or folder (`discovery.references.files`).
        name: Name of the collection; default: the known name or the file's.
        role: Role of a file's crystals (`ROLES`); known collections have their own.
        progress: Told how far it is, after every batch.
        processes: Processes that read; the result does not depend on it.

    Returns:
        What was done.

    Raises:
        ImportRefused: There is no such name or file, it cannot be read, or the collection was made
            from other files.
        MissingFile: A table of a known collection is in no searched folder (`agents.paths`).
    """
    if role not in ROLES:
        raise ImportRefused(f"{role!r} is not a role: use one of {', '.join(ROLES)}")
    if name_or_file in SOURCES:
        chosen, located = name or name_or_file, locate(name_or_file)
    elif Path(name_or_file).exists():
        path = Path(name_or_file)
        chosen = name or re.sub(r"(\.[a-z]+(\.gz)?)?$", "", path.resolve().name.lower())
        located = described(((path, role),), "", path.resolve().name)
    elif NAME.fullmatch(name_or_file) and (fetched := locate_fetched(name_or_file)):
        chosen, located = name or name_or_file, fetched
    else:
        raise ImportRefused(
            f"there is no reference collection or file {name_or_file!r}: known are "
            f"{', '.join(SOURCES)}, or give the path of a file or folder."
            f"{did_you_mean(name_or_file, SOURCES)}"
        )
    if not NAME.fullmatch(chosen):
        raise ImportRefused(f"{chosen!r} is not a name of a collection: use a-z, 0-9, . _ and -")
    try:
        tables = [open_rows(path) for path, _ in located.tables]
    except (OSError, ValueError) as error:
        raise ImportRefused(str(error)) from error
    run = _Import(chosen, located, tables, progress, processes)
    try:
        return run.whole()
    except reference_collections.LostImport as error:
        raise ImportRefused(str(error)) from error


@dataclass
class _Import:
    """One running import."""

    name: str
    located: Located
    tables: list[Rows]
    progress: Progress
    processes: int
    run: str = ""  # what its writes are marked with
    read: int = 0
    expected: int = 0  # crystals that there should be
    skipped: int = 0
    n_bad: int = 0
    bad: list[BadRow] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    passed: int = 0  # bytes of the tables before the one being read
    began_at: int = 0  # bytes of all tables that an earlier import had read

    @property
    def fields(self) -> dict[str, str]:
        """Fields of the collection."""
        version = self.located.version or f"sha256 {self.tables[0].sha256[:12]}"
        fields = {"version": version, "source": self.located.source}
        return fields | ({"retrieved": self.located.retrieved} if self.located.retrieved else {})

    def whole(self) -> ImportReport:
        """Import all tables.

        Raises:
            ImportRefused: They are not those of the collection, or cannot be read.
            LostImport: Another import took the name.
        """
        self.begin()
        for rows, (_, role) in zip(self.tables, self.located.tables, strict=True):
            self.import_file(rows, role)
        return self.finish()

    def begin(self) -> None:
        """Begin, or continue where an import of the same files ended.

        An import that was never finished may be begun anew with other ones: nothing was computed
        for its crystals.

        Raises:
            ImportRefused: The collection is complete and was made from other files or with other
                roles, or other processes begin with other files at the same time.
        """
        roles = {path.resolve().name: role for path, role in self.located.tables}
        files = {rows.name: self._entry(rows, roles[rows.name]) for rows in self.tables}
        for _ in range(ATTEMPTS):
            self._refuse_another(files)
            run = reference_collections.begin(self.name, files)
            if run is not None:
                self.run = run
                return
            known = reference_collections.describe(self.name)
            if known and not known["complete"]:
                reference_collections.forget(self.name)
        raise ImportRefused(f"other processes import other files as {self.name}: use --name")

    def _refuse_another(self, files: dict[str, dict[str, Any]]) -> None:
        known = reference_collections.describe(self.name)
        if known is None or not known["complete"]:
            return
        there = {one["file"]: one for one in known["files"]}
        other = [
            name
            for name, one in there.items()
            if name not in files or one["sha256"] != files[name]["sha256"]
        ]
        if other:
            raise ImportRefused(
                f"the collection {self.name} was made from another {', '.join(other)}, and "
                "energies may have been computed for its crystals: import this one under another "
                "name with --name"
            )
        for name, one in there.items():
            role = one.get("role")  # older versions noted none
            if role not in (None, files[name]["role"]):
                raise ImportRefused(
                    f"{name} of the collection {self.name} has the role {role}, and crystals may "
                    f"have been compared with it: import it as {files[name]['role']} under another "
                    "name with --name"
                )

    def import_file(self, rows: Rows, role: str) -> None:
        """Import what is missing of one table."""
        before = reference_collections.progress(self.name, rows.name) or {}
        same = {
            **{"fingerprint_version": FINGERPRINT_VERSION, "role": role},
            "reading": reading_of(rows.name),
        }
        if any(before.get(key) != value for key, value in same.items()):
            before = {}  # never begun, or by an older version, or with another role
        bad = [BadRow(**one) for one in before.get("bad", [])]
        count, n_bad = int(before.get("read", 0)), int(before.get("n_bad", len(bad)))
        self.skipped += count
        if before.get("complete"):
            self.began_at += rows.size
        else:
            processes = self.processes if rows.size > LARGE else 1
            for result in in_order(read_batch, self._batches(rows, role, count), processes):
                reference_collections.check_run(self.name, self.run)
                wrong = [*result.bad, *_store(result)]
                left_out = [one.row for one in wrong]
                reference_structures.remove_rows(self.name, rows.name, left_out)
                bad = [*bad, *wrong][: reference_structures.BAD_ROWS_KEPT]
                n_bad += len(wrong)
                count += result.n
                self.read += result.n
                self._note(rows, role, count, bad, n_bad, complete=False)
                self.progress(self._state(rows.name, count, result.batch.position))
            self._note(rows, role, count, bad, n_bad, complete=True)
        self.passed += rows.size
        self.bad += bad
        self.n_bad += n_bad
        self.expected += count - n_bad

    def finish(self) -> ImportReport:
        """Declare the collection complete.

        Raises:
            ImportRefused: What is stored is not what was read, or is nothing.
            LostImport: Another import took the name.
        """
        known = reference_collections.describe(self.name)
        if known and known["complete"] and known["fingerprint_version"] != FINGERPRINT_VERSION:
            # What an older version took for a crystal and this one does not is among the bad rows.
            reference_structures.remove_outdated(self.name, FINGERPRINT_VERSION)
        reference_collections.check_run(self.name, self.run)
        stored = reference_collections.describe(self.name)
        if stored is None or stored["n"] != self.expected:
            self._give_up(stored["n"] if stored else 0)
        if self.expected == 0 and not stored["complete"]:
            reference_collections.forget(self.name)
            first = f": row {self.bad[0].row}: {self.bad[0].reason}" if self.bad else ""
            raise ImportRefused(f"{self.tables[0].path} has no crystal{first}")
        reference_collections.note(
            self.name,
            run=self.run,
            **{"complete": True, "fingerprint_version": FINGERPRINT_VERSION, **self.fields},
        )
        n = reference_collections.load(self.name)["n"]
        return ImportReport(self.name, self.read, self.skipped, tuple(self.bad), self.n_bad, n)

    def _give_up(self, stored: int) -> NoReturn:
        """Refuse a collection that is not what its files say."""
        known = reference_collections.describe(self.name)
        again = "import it under another name with --name"
        if known and not known["complete"]:
            reference_collections.forget(self.name)
            again = "import it again"
        raise ImportRefused(
            f"{self.name} has {stored} crystals where {self.expected} were read: {again}"
        )

    def _batches(self, rows: Rows, role: str, start: int) -> Iterator[Batch]:
        """Cut what is missing of a table into batches.

        Raises:
            ImportRefused: It cannot be read to its end.
        """
        left = iter(rows)
        try:
            next(islice(left, start, start), None)
            self.began_at += rows.position
            while chosen := tuple(islice(left, BATCH)):
                yield Batch(self.name, rows.name, role, chosen, rows.position)
        except UnreadableFile as error:
            raise ImportRefused(f"{error}; import it again when it is whole") from error

    def _note(
        self, rows: Rows, role: str, read: int, bad: list[BadRow], n_bad: int, *, complete: bool
    ) -> None:
        values = {
            **{"read": read, "bad": [vars(one) for one in bad], "n_bad": n_bad},
            "complete": complete,
        }
        entry = self._entry(rows, role) | values
        reference_collections.note_file(self.name, rows.name, entry, run=self.run, **self.fields)

    def _entry(self, rows: Rows, role: str) -> dict[str, Any]:
        """Return what is noted of a file before anything of it was read."""
        return {
            **{"sha256": rows.sha256, "role": role, "read": 0, "bad": [], "n_bad": 0},
            **{"complete": False, "fingerprint_version": FINGERPRINT_VERSION},
            **({"reading": reading} if (reading := reading_of(rows.name)) else {}),
        }

    def _state(self, file: str, rows: int, position: int) -> ImportProgress:
        seconds = max(time.monotonic() - self.started, 1e-9)
        total = max(sum(one.size for one in self.tables), 1)
        there = self.passed + position
        now = there - self.began_at
        return ImportProgress(
            collection=self.name,
            file=file,
            rows=rows,
            fraction=min(there / total, 1.0),
            rows_per_second=self.read / seconds,
            seconds_left=(total - there) * seconds / now if now > 0 else None,
        )


def _store(result: BatchResult) -> list[BadRow]:
    """Store crystals; return those whose id another row has."""
    refused = reference_structures.store([document for _, document in result.crystals.values()])
    return [
        BadRow(result.crystals[name][0], name, f"row {row} of {file} has the same id")
        for name, (file, row) in refused.items()
    ]
