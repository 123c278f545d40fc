"""Aggregations over all candidates of a campaign, remembered where nothing changes any more.

A rejected candidate is final: no later write changes it or moves it on (`db.states`). So what an
aggregation gave for the rejected candidates of a range of numbers (``seq``) holds as long as the
range has as many of them, which an index alone can tell. Only ranges that have more of them since,
and the candidates that are not rejected, are read again. In a large campaign that is a small part:
nine of ten candidates end rejected.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from pymongo.client_session import ClientSession
from pymongo.errors import OperationFailure

from db.connection import current_database
from db.retry import idempotent
from db.snapshot import GONE
from db.states import State

Document = dict[str, Any]

COLLECTION = "settled"
RANGE = 1000
"""Numbers of candidates that are remembered together."""
BY_STATE = "campaign_1_state_1_seq_1"
UNAUTHORIZED = 13
ATTEMPTS = 5
"""The server keeps the moment that is read for five minutes; a large campaign may take longer."""


@idempotent
def aggregate(campaign: str, purpose: str, stages: Sequence[Document]) -> list[Document]:
    """Run an aggregation over parts of a campaign's candidates that together are all of them.

    All parts are read as they were at one moment, so that every candidate is in exactly one.

    Args:
        campaign: Name of the campaign.
        purpose: What the aggregation is for; of each purpose only the last stages are remembered.
        stages: What follows the choice of the candidates. It must not matter how they are divided:
            counts are to be added up by the caller.

    Returns:
        What the parts give, one after the other.
    """
    for _ in range(ATTEMPTS):
        try:
            return _by_ranges(campaign, purpose, stages)
        except OperationFailure as error:
            if error.code == UNAUTHORIZED:  # whoever may only read remembers nothing
                break
            if error.code not in GONE:  # else what was read is remembered: the next gets further
                raise
    return _answer(campaign, {}, stages, None)


def _by_ranges(campaign: str, purpose: str, stages: Sequence[Document]) -> list[Document]:
    """Read anew what may have changed, and take the rest from memory.

    Raises:
        OperationFailure: The server has dropped the moment that is read, or this user may not
            write.
    """
    database = current_database()
    with database.client.start_session(snapshot=True) as session:
        key = _key(campaign, stages, session)
        counts = _rejected(campaign, session)
        others: Document = {"state": {"$ne": str(State.REJECTED)}}
        answer = _answer(campaign, others, stages, session)
        known = {
            one["range"]: one
            for one in database[COLLECTION].find(
                {"campaign": campaign, "purpose": purpose, "key": key}
            )
        }
        for number, count in counts.items():
            remembered = known.get(number)
            if remembered is None or remembered["count"] != count:
                remembered = {
                    "_id": f"{campaign}/{purpose}/{number}",
                    **{"campaign": campaign, "purpose": purpose, "key": key},
                    **{"range": number, "count": count},
                    "found": _of_range(campaign, number, stages, session),
                }
                _remember(remembered)
            answer += remembered["found"]
    return answer


def forget(campaign: str) -> None:
    """Forget everything about a campaign, whose name another one gets."""
    current_database()[COLLECTION].delete_many({"campaign": campaign})


def _key(campaign: str, stages: Sequence[Document], session: ClientSession) -> str:
    """Tell what is remembered of these stages and this campaign from all else."""
    found = current_database()["campaigns"].find_one(
        {"_id": campaign}, {"created_at": 1}, session=session
    )
    text = json.dumps([stages, RANGE, (found or {}).get("created_at")], default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _rejected(campaign: str, session: ClientSession) -> dict[int, int]:
    """Count the rejected candidates of each range, by an index alone."""
    within = {"$floor": {"$divide": ["$seq", RANGE]}}
    stages: list[Document] = [
        {"$match": {"campaign": campaign, "state": str(State.REJECTED)}},
        {"$project": {"_id": 0, "seq": 1}},
        {"$group": {"_id": within, "count": {"$sum": 1}}},
        {"$sort": {"_id": 1}},
    ]
    found = current_database()["candidates"].aggregate(stages, session=session, hint=BY_STATE)
    return {int(one["_id"]): int(one["count"]) for one in found}


def _of_range(
    campaign: str, number: int, stages: Sequence[Document], session: ClientSession
) -> list[Document]:
    numbers = {"$gte": number * RANGE, "$lt": (number + 1) * RANGE}
    chosen = {"state": str(State.REJECTED), "seq": numbers}
    return _answer(campaign, chosen, stages, session)


def _answer(
    campaign: str, chosen: Document, stages: Sequence[Document], session: ClientSession | None
) -> list[Document]:
    asked: list[Document] = [{"$match": {"campaign": campaign, **chosen}}, *stages]
    candidates = current_database()["candidates"]
    return list(candidates.aggregate(asked, session=session, hint=BY_STATE))


def _remember(found: Document) -> None:
    current_database()[COLLECTION].replace_one({"_id": found["_id"]}, found, upsert=True)
