"""Questions about candidates, answered with plain records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bson import MinKey

from db.connection import current_database
from db.index_choice import SORTED_INDEXES
from db.retry import idempotent
from db.selection import record, select, stream
from db.states import State

BY_STATE = "campaign_1_state_1_seq_1"
_LACKING = {"hull.level": "campaign_1_state_1_hull.level_1_seq_1"}


@dataclass(frozen=True)
class Place:
    """Where a candidate stands in the order of proposal.

    Attributes:
        seq: Its number.
        episode: The episode that brought it.
        generation: The generation within the episode.
    """

    seq: int
    episode: int | None
    generation: int | None


def hint_of(field: str) -> str | None:
    """Name the index of the candidates in a state that lack a field; None where there is none."""
    return _LACKING.get(field)


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
    return {str(state): count_reached(campaign, state) for state in State}


def count_reached(campaign: str, state: State) -> int:
    """Count a campaign's candidates that ever were in a state."""
    return _count({"campaign": campaign, "history.to": str(state)}, "campaign_1_history.to_1")


def count_relaxed_codes(campaign: str) -> int:
    """Count a campaign's candidates whose relaxed crystal was encoded, by the index alone."""
    # A code is never negative; "not null" would have every record read.
    chosen = {"campaign": campaign, "relaxed_codes.crystal.0": {"$gte": 0}}
    return _count(chosen, "campaign_1_relaxed_codes.crystal.0_1")


def count_by(campaign: str, field: str) -> dict[str, int]:
    """Count a campaign's candidates per value of a field, for instance ``proposer``."""
    if not field.replace("_", "").replace(".", "").isalnum():
        raise ValueError(f"{field!r} is not the name of a field")
    return _group({"campaign": campaign, field: {"$gt": MinKey()}}, f"${field}")


def lacking(campaign: str, state: State, field: str) -> list[str]:
    """Return the ids of a campaign's candidates in a state that have no result in a field."""
    chosen = {"campaign": campaign, "state": str(state), field: None}  # missing counts as None
    return _ids(chosen)


def count_lacking(campaign: str, state: State, field: str) -> int:
    """Count a campaign's candidates in a state that have no result in a field."""
    chosen = {"campaign": campaign, "state": str(state), field: None}
    return _count(chosen, hint_of(field))


def count_state(campaign: str, state: State, before: int | None = None) -> int:
    """Count a campaign's candidates in a state, by the index alone.

    Args:
        campaign: Its name.
        state: The state.
        before: Only those proposed before this number (``seq``).
    """
    chosen: dict[str, Any] = {"campaign": campaign, "state": str(state)}
    if before is not None:
        chosen["seq"] = {"$lt": before}
    return _count(chosen, BY_STATE)


def oldest(campaign: str, states: Sequence[State], lacks: str | None = None) -> Place | None:
    """Find the candidate that was proposed first among those in some states.

    Args:
        campaign: Name of the campaign.
        states: The states.
        lacks: Only candidates without a result in this field.

    Returns:
        Where it is in the order of proposal; None where there is none.
    """
    places = []
    for state in states:
        chosen: dict[str, Any] = {"campaign": campaign, "state": str(state)}
        if lacks is not None:
            chosen[lacks] = None
        found = current_database()["candidates"].find_one(
            chosen,
            {"seq": 1, "episode": 1, "generation": 1},
            sort=[("seq", 1)],
            hint=BY_STATE if lacks is None else hint_of(lacks),
        )
        if found is not None:
            places.append(Place(found["seq"], found.get("episode"), found.get("generation")))
    return min(places, key=lambda place: place.seq, default=None)


def first_of_generation(campaign: str, episode: int | None, generation: int | None) -> int | None:
    """Return the number (``seq``) of the first candidate that a generation brought."""
    found = current_database()["candidates"].find(
        {"campaign": campaign, "episode": episode, "generation": generation},
        {"seq": 1},
        hint="campaign_1_episode_1_generation_1_state_1",
    )
    return min((int(one["seq"]) for one in found), default=None)


def count_in(campaign: str, field: str, bounds: dict[str, float]) -> int:
    """Count a campaign's candidates whose number in a field lies within bounds, by its index.

    Args:
        campaign: Its name.
        field: One of those that `db.index_choice.SORTED_INDEXES` names.
        bounds: Operators of MongoDB to numbers, for instance ``{"$lt": 0}``.
    """
    return _count({"campaign": campaign, field: bounds}, SORTED_INDEXES[field])


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
def _count(chosen: dict[str, Any], index: str | None) -> int:
    hint: dict[str, Any] = {} if index is None else {"hint": index}
    return int(current_database()["candidates"].count_documents(chosen, **hint))


@idempotent
def _group(chosen: dict[str, Any], key: str) -> dict[str, int]:
    steps: list[dict[str, Any]] = [
        {"$match": chosen},
        {"$group": {"_id": key, "count": {"$sum": 1}}},
    ]
    found = current_database()["candidates"].aggregate(steps)
    return {str(group["_id"]): int(group["count"]) for group in found}
