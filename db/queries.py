"""Questions about candidates, answered with plain records."""

from __future__ import annotations

from typing import Any

from bson import MinKey

from db.connection import current_database
from db.retry import idempotent
from db.selection import record, select, stream
from db.states import State


class UnknownCandidate(ValueError):
    """No candidate has this id."""


def counts(campaign: str) -> dict[str, int]:
    """Count a campaign's candidates per state; every state is there, in the funnel's order."""
    found = _group({"campaign": campaign, "state": {"$gt": ""}}, "$state")
    return {str(state): found.get(str(state), 0) for state in State}


def reached(campaign: str) -> dict[str, int]:
    """Count how many candidates ever were in each state, every state in the funnel's order."""
    # A count for each state reads the index alone (14 ms for 10,000 candidates); one aggregation
    # over the histories has to read the documents (40 ms).
    collection = current_database()["candidates"]
    return {
        str(state): collection.count_documents({"campaign": campaign, "history.to": str(state)})
        for state in State
    }


def count_by(campaign: str, field: str) -> dict[str, int]:
    """Count a campaign's candidates per value of a field, for instance ``proposer``."""
    if not field.replace("_", "").replace(".", "").isalnum():
        raise ValueError(f"{field!r} is not the name of a field")
    return _group({"campaign": campaign, field: {"$gt": MinKey()}}, f"${field}")


def lacking(campaign: str, state: State, field: str) -> list[str]:
    """Return the ids of a campaign's candidates in a state that have no result in a field."""
    chosen = {"campaign": campaign, "state": str(state), field: None}  # missing counts as None
    return _ids(chosen)


def rejections(campaign: str) -> dict[str, int]:
    """Count a campaign's rejected candidates per reason, the most frequent first."""
    chosen = {"campaign": campaign, "state": str(State.REJECTED), "rejection.reason": {"$gt": ""}}
    found = _group(chosen, "$rejection.reason")
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def get(candidate_id: str) -> dict[str, Any]:
    """Read one candidate as `find` returns it.

    Raises:
        UnknownCandidate: There is none of this id.
    """
    document = current_database()["candidates"].find_one({"_id": candidate_id})
    if document is None:
        raise UnknownCandidate(f"there is no candidate {candidate_id!r}")
    return record(document)


def find(campaign: str | None = None, **conditions: Any) -> list[dict[str, Any]]:
    """Find candidates and hold them all; `db.selection.stream` holds one after the other.

    Args:
        campaign: Name of the campaign; None: of all campaigns.
        conditions: As for `db.selection.select`.

    Returns:
        Plain JSON records, see `db.selection.record`.

    Raises:
        ValueError: Unknown state or field, or a filter that cannot be understood.
    """
    return list(stream(select(campaign, **conditions)))


@idempotent
def _ids(chosen: dict[str, Any]) -> list[str]:
    return [str(one["_id"]) for one in current_database()["candidates"].find(chosen, {"_id": 1})]


@idempotent
def _group(chosen: dict[str, Any], key: str) -> dict[str, int]:
    steps: list[dict[str, Any]] = [
        {"$match": chosen},
        {"$group": {"_id": key, "count": {"$sum": 1}}},
    ]
    found = current_database()["candidates"].aggregate(steps)
    return {str(group["_id"]): int(group["count"]) for group in found}
