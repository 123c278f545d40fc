"""Candidates as text: a table, JSON, JSON lines, CSV; one record at a time."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any, TextIO

from discovery.export.candidates import COLUMNS, row
from discovery.export.formats import Format

Record = dict[str, Any]

#: Rows from which the widths of a table's columns are taken.
MEASURED = 500
#: Above this size the rows of a CSV file wait on disk for its header.
SPOOLED_BYTES = 16_000_000


def as_json(value: Any, *, indent: int | None = None) -> str:
    """Write plain values as JSON, without NaN."""
    return json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False)


def write_json(records: Iterator[Record], file: TextIO) -> int:
    """Write one JSON list; returns how many records."""
    count = 0
    for count, record in enumerate(records, start=1):
        file.write("[\n" if count == 1 else ",\n")
        file.write(as_json(record, indent=2))
    file.write("\n]\n" if count else "[]\n")
    return count


def write_json_lines(records: Iterator[Record], file: TextIO) -> int:
    """Write one JSON document a line; returns how many records."""
    count = 0
    for record in records:
        file.write(as_json(record) + "\n")
        count += 1
    return count


def write_csv(records: Iterator[Record], file: TextIO) -> int:
    """Write a table with a header of all names that any record has; returns how many records."""
    names = dict.fromkeys(COLUMNS)
    count = 0
    with tempfile.SpooledTemporaryFile(SPOOLED_BYTES, "w+", encoding="utf-8") as waiting:
        for count, record in enumerate(records, start=1):
            flat = row(record)
            if count == 1 and "properties" not in record:
                names = {}  # the fields were asked for by name
            names |= dict.fromkeys(flat)
            waiting.write(as_json(flat) + "\n")
        waiting.seek(0)
        writer = csv.DictWriter(file, list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(_joined(json.loads(line)) for line in waiting)
    return count


def write_table(records: Iterator[Record], file: TextIO) -> int:
    """Write columns for people, and how many records there are."""
    rows = ({name: _shown(value) for name, value in row(record).items()} for record in records)
    head = list(islice(rows, MEASURED))
    names = list(head[0]) if head else list(COLUMNS)
    widths = {name: max([len(name), *(len(one[name]) for one in head)]) for name in names}
    count = -1  # the first line holds the names
    for one in chain([{name: name for name in names}], head, rows):
        line = "  ".join(one[name].ljust(widths[name]) for name in names)
        file.write(line.rstrip() + "\n")
        count += 1
    file.write(f"{count} candidates\n")
    return count


def _joined(flat: Record) -> Record:
    """Write lists as texts."""
    return {k: " ".join(v) if isinstance(v, list) else v for k, v in flat.items()}


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return " ".join(value)
    return f"{value:.3f}" if isinstance(value, float) else str(value)


WRITERS: dict[Format, Callable[[Iterator[Record], TextIO], int]] = {
    Format.TABLE: write_table,
    Format.JSON: write_json,
    Format.JSON_LINES: write_json_lines,
    Format.CSV: write_csv,
}
