"""Energies of reference crystals: each potential, crystal and criterion is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymongo import UpdateOne

from db.connection import current_database
from db.events import server_time
from db.plain import plain
from db.retry import idempotent

FIELDS = (
    *("reference_id", "potential", "criterion", "energy_per_atom", "error"),
    *("steps", "max_force", "max_stress", "seconds"),
)
#: Ids in one query.
AT_ONCE = 1000


@idempotent
def put(collection: str, energies: Sequence[dict[str, Any]]) -> int:
    """Store energies; the first result for a crystal, potential and criterion stays.

    Args:
        collection: Name of the reference collection.
        energies: Each with the fields of `FIELDS`.

    Returns:
        How many were new.

    Raises:
        ValueError: A field is missing, unknown or not plain JSON.
    """
    now = server_time()
    changes = []
    for energy in energies:
        if set(energy) != set(FIELDS):
            raise ValueError(f"an energy has the fields {sorted(energy)}, not {sorted(FIELDS)}")
        document = {"collection": collection, **plain(energy, "energy"), "created_at": now}
        name = ":".join(
            (collection, energy["reference_id"], energy["potential"], energy["criterion"])
        )
        changes.append(UpdateOne({"_id": name}, {"$setOnInsert": document}, upsert=True))
    if not changes:
        return 0
    done = current_database()["reference_energies"].bulk_write(changes, ordered=False)
    return int(done.upserted_count)


def find(
    collection: str, ids: Sequence[str], potential: str, criterion: str
) -> dict[str, dict[str, Any]]:
    """Return what is known of some crystals by id; what is not known is left out."""
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(ids), AT_ONCE):
        for one in _read(collection, list(ids[start : start + AT_ONCE]), potential, criterion):
            found[one["reference_id"]] = one
    return found


@idempotent
def _read(collection: str, ids: list[str], potential: str, criterion: str) -> list[dict[str, Any]]:
    chosen = {
        "collection": collection,
        "potential": potential,
        "criterion": criterion,
        "reference_id": {"$in": ids},
    }
    shown = {"_id": 0, **dict.fromkeys(FIELDS, 1)}
    return list(current_database()["reference_energies"].find(chosen, shown))
