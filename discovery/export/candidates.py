"""Candidates for people: chosen by a filter, with every number's source, as a stream of records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from db import campaigns, queries
from db.connection import current_database
from db.plain import without_times
from db.selection import Selection, best_structure, select, stream
from discovery.export.formats import Format

__all__ = [
    "best_structure",
    "choose",
    "full_record",
    "hit",
    "records",
    "row",
]

Record = dict[str, Any]

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
#: What no table or crystal needs of a record, and most of its size.
HEAVY = ("history", "codes", "relaxed_codes", "screening", "duplicates", "evaluation", "selection")


def choose(
    campaign: str | None, form: Format, *, fields: Sequence[str] | None = None, **conditions: Any
) -> Selection:
    """Put together what to read for a form of output; nothing is read yet.

    Args:
        campaign: Name of a campaign; None for all.
        form: The form of output.
        fields: Only these values of each candidate; None: what is usual in this form.
        conditions: As for `db.selection.select`.

    Raises:
        InvalidFilter: A condition cannot be understood.
        UnknownName: A field does not exist.
    """
    if fields is not None:
        return select(campaign, fields=fields, crystal=form.of_crystals, **conditions)
    if form is Format.TABLE:
        return select(campaign, fields=COLUMNS, **conditions)
    whole = form in (Format.JSON, Format.JSON_LINES)
    return select(campaign, without=() if whole else HEAVY, **conditions)


def records(selection: Selection) -> Iterator[Record]:
    """Read the chosen candidates; whole records come with their DFT calculations.

    Yields:
        Records; ``verification.records`` holds the calculations.

    Raises:
        UnknownCampaign: There is none of this name (`db.campaigns`).
        UnknownName: A model's number is named that no candidate has.
    """
    if selection.campaign is not None:
        campaigns.load(selection.campaign)
    found = stream(selection)
    if selection.fields is not None or selection.without:
        return found
    return (_with_calculations(record) for record in found)


def full_record(candidate_id: str) -> Record:
    """Return one candidate with everything that is known about it.

    Raises:
        UnknownCandidate: There is none of this id (`db.queries`).
    """
    return _with_calculations(queries.get(candidate_id))


def row(record: Record) -> Record:
    """Flatten a record to the fields of a table, the models' numbers included.

    A record that is flat already stays as it is, but for its crystal.
    """
    if "properties" not in record:
        return {name: value for name, value in record.items() if name != "structure"}
    values = {**record, **record["properties"]}
    values["hit"] = hit(record)
    relaxed = (record.get("relaxation") or {}).get("formation_energy_per_atom")
    flat = {name: values.get(name) for name in COLUMNS}
    flat["formation_energy_per_atom_potential"] = relaxed
    return {**flat, **record["properties"]}


def hit(record: Record) -> bool | None:
    """Say whether DFT confirmed a candidate; None where there is no DFT."""
    found: bool | None = (record.get("verification") or {}).get("hit")
    return found


def _with_calculations(record: Record) -> Record:
    """Add the calculations of the verification and of the follow-up, each where it is named."""
    followed = ((record.get("follow_up") or {}).get("dft")) or {}
    for part, named in (
        ("verification", (record.get("verification") or {}).get("calculations")),
        ("follow_up", [followed.get("calculations"), followed.get("phases")]),
    ):
        hashes = list(_hashes(named))
        if hashes:
            found = current_database()["calculations"].find({"_id": {"$in": hashes}}).sort("_id")
            record[part]["records"] = [
                {"hash": one.pop("_id"), **without_times(one)} for one in found
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
