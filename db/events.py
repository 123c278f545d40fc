"""What happened in a campaign: its own events and its candidates' histories, as one stream."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from bson import ObjectId

from db.connection import current_database
from db.plain import plain
from db.retry import idempotent


@idempotent
def server_time() -> datetime:
    """Read the server's clock (UTC); the clocks of workers are never used in records."""
    database = current_database()
    hello = database.command("hello", codec_options=database.codec_options)
    now: datetime = hello["localTime"]
    return now


def record(
    campaign: str, kind: str, *, agent: str = "loop", data: dict[str, Any] | None = None
) -> None:
    """Record that something happened to a campaign as a whole.

    Args:
        campaign: Name of the campaign.
        kind: Snake-case name, for instance ``model_promoted``.
        agent: Who reports it.
        data: Plain JSON values.

    Raises:
        ValueError: The data are not plain JSON.
    """
    values = {"campaign": campaign, "kind": kind, "agent": agent, "data": plain(data or {}, "data")}
    current_database()["events"].update_one(
        {"_id": ObjectId()}, {"$setOnInsert": values, "$currentDate": {"at": True}}, upsert=True
    )


@idempotent
def events(
    campaign: str, *, since: datetime | None = None, limit: int | None = None
) -> list[dict[str, Any]]:
    """List what happened, oldest first.

    Candidates' transitions are read from their histories; they are stored nowhere else.

    Args:
        campaign: Name of the campaign.
        since: Only what happened at or after this time.
        limit: Only the newest so many.

    Returns:
        Records with ``at``, ``kind`` ("transition" or the event's), ``agent``, ``data``, and for a
        transition ``candidate``, ``from``, ``to`` and ``reason``.
    """
    database = current_database()
    window: dict[str, Any] = {"at": {"$gte": since}} if since else {}
    own = database["events"].find({"campaign": campaign, **window}, {"_id": 0, "campaign": 0})
    merged = [*own, *_transitions(campaign, since)]
    merged.sort(key=lambda event: event["at"])
    return merged[-limit:] if limit else merged


def _transitions(campaign: str, since: datetime | None) -> list[dict[str, Any]]:
    window = [{"$match": {"history.at": {"$gte": since}}}] if since else []
    steps: list[dict[str, Any]] = [
        {"$match": {"campaign": campaign, "seq": {"$gte": 0}}},
        {"$sort": {"campaign": 1, "seq": 1}},
        {"$project": {"history": 1}},
        {"$unwind": "$history"},
        *window,
        {
            "$project": {
                "_id": 0,
                "candidate": "$_id",
                "at": "$history.at",
                "kind": {"$literal": "transition"},
                "agent": "$history.agent",
                "from": "$history.from",
                "to": "$history.to",
                "reason": {"$ifNull": ["$history.reason", None]},
                "data": "$history.inputs",
            }
        },
    ]
    return list(current_database()["candidates"].aggregate(steps))
