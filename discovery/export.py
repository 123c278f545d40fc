"""Candidates as files: tables, JSON, CSV and CIF, in one order and with every number's source."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from db import campaigns, candidates
from db.connection import current_database
from db.queries import find
from db.selection import record as exported


class OutputError(RuntimeError):
    """A file or folder cannot be written."""


class UnknownField(ValueError):
    """A field or state that records do not have."""

    exit_code = 2


COLUMNS = (
    "id",
    "formula",
    "state",
    "proposer",
    "n_atoms",
    "formation_energy_per_atom",
    "band_gap",
    "hit",
)


def select(
    campaign: str | None,
    *,
    status: str | None = None,
    hits: bool = False,
    elements: Sequence[str] | None = None,
    sort: str | None = None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Find candidates and bring in the DFT calculations that verify them.

    Args:
        campaign: Name of a campaign; None for all.
        status: Only candidates in this state.
        hits: Only verified hits.
        elements: Only crystals with all of these.
        sort: Dotted field or property name; a leading ``-`` reverses.
        limit: At most so many.

    Returns:
        Plain records; ``verification.records`` holds the calculations.

    Raises:
        UnknownCampaign: There is none of this name (`db.campaigns`).
        UnknownField: Unknown state or field to sort by.
    """
    if campaign is not None:
        campaigns.load(campaign)
    try:
        records = find(
            campaign,
            status=status,
            hits=True if hits else None,
            elements=elements,
            sort=_dotted(sort),
            limit=limit,
        )
    except ValueError as error:
        raise UnknownField(str(error)) from error
    return [_with_calculations(record) for record in records]


def full_record(candidate_id: str) -> dict[str, Any]:
    """Return one candidate with everything that is known about it.

    Raises:
        UnknownCandidate: There is none of this id (`db.candidates`).
    """
    candidates.load(candidate_id)
    document = current_database()["candidates"].find_one({"_id": candidate_id})
    assert document is not None
    return _with_calculations(exported(document))


def _dotted(sort: str | None) -> str | None:
    """Let a bare property name mean the flat table of properties."""
    if sort is None:
        return None
    sign, name = ("-", sort[1:]) if sort.startswith("-") else ("", sort)
    bare = "." not in name and name not in ("seq", "formula", "n_atoms", "state", "proposer", "id")
    return f"{sign}properties.{name}" if bare else sort


def _with_calculations(record: dict[str, Any]) -> dict[str, Any]:
    hashes = list(_hashes((record.get("verification") or {}).get("calculations")))
    if hashes:
        found = current_database()["calculations"].find({"_id": {"$in": hashes}}).sort("_id")
        record["verification"]["records"] = [
            {"hash": one.pop("_id"), **_plain(one)} for one in found
        ]
    return record


def _hashes(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [found for item in value.values() for found in _hashes(item)]
    if isinstance(value, list):
        return [found for item in value for found in _hashes(item)]
    return []


def _plain(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def write(records: Sequence[dict[str, Any]], form: str, out: Path | None) -> None:
    """Write records to a file, a folder, or stdout.

    Args:
        records: As from `select`.
        form: ``table``, ``json``, ``csv`` or ``cif``.
        out: File (json, csv, table) or folder (cif); None for stdout.

    Raises:
        OutputError: The file or folder cannot be written.
    """
    if form == "cif":
        assert out is not None
        _write_cifs(records, out)
        return
    text = {"table": _table, "json": _json, "csv": _csv}[form](records)
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror}") from error


def row(record: dict[str, Any]) -> dict[str, Any]:
    """Flatten a record to the fields of a table, the models' numbers included."""
    values = {**record, **record["properties"]}
    values["hit"] = (record.get("verification") or {}).get("hit")
    relaxed = (record.get("relaxation") or {}).get("formation_energy_per_atom")
    flat = {name: values.get(name) for name in COLUMNS}
    flat["formation_energy_per_atom_potential"] = relaxed
    return {**flat, **record["properties"]}


def best_structure(record: dict[str, Any]) -> dict[str, Any] | None:
    """Return the relaxed crystal's record, or the decoded one where none was relaxed."""
    relaxed: dict[str, Any] | None = (record.get("relaxation") or {}).get("structure")
    return relaxed or record.get("structure")


def _json(records: Sequence[dict[str, Any]]) -> str:
    return json.dumps(list(records), indent=2, allow_nan=False) + "\n"


def _csv(records: Sequence[dict[str, Any]]) -> str:
    rows = [row(record) for record in records]
    fields = list(dict.fromkeys([*COLUMNS, *(key for one in rows for key in one)]))
    output = io.StringIO()
    writer = csv.DictWriter(output, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return output.getvalue()


def _table(records: Sequence[dict[str, Any]]) -> str:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, no_wrap=column == "id")
    for record in records:
        flat = row(record)
        table.add_row(*(_shown(flat[column]) for column in COLUMNS))
    output = io.StringIO()
    wide = None if sys.stdout.isatty() else 160
    Console(file=output, width=wide).print(table)
    return output.getvalue() + f"{len(records)} candidates\n"


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _write_cifs(records: Sequence[dict[str, Any]], folder: Path) -> None:
    from pymatgen.io.cif import CifWriter

    from db.crystals import record_to_structure

    written = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for record in records:
            crystal = best_structure(record)
            if crystal is None:
                continue
            CifWriter(record_to_structure(crystal)).write_file(folder / f"{record['id']}.cif")
            written += 1
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror}") from error
    print(f"{written} files written to {folder}", file=sys.stderr)
