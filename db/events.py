"""What happened in a campaign: its own events and its candidates' histories, as one stream."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from typing import Any

from bson import ObjectId, Timestamp

from db.connection import current_database
from db.plain import plain
from db.retry import idempotent

TRANSITION = "transition"
"""Kind of what is read from the candidates' histories."""


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
    campaign: str,
    *,
    since: datetime | None = None,
    limit: int | None = None,
    kinds: Collection[str] | None = None,
    candidate: str | None = None,
) -> list[dict[str, Any]]:
    """List what happened, oldest first.

    Candidates' transitions are read from their histories; they are stored nowhere else.

    Args:
        campaign: Name of the campaign.
        since: Only what happened at or after this time.
        limit: Only the newest so many.
        kinds: Only of these kinds; ``transition`` is that of the candidates' histories.
        candidate: Only what happened to this candidate.

    Returns:
        Records with ``at``, ``kind`` ("transition" or the event's), ``agent``, ``data``, and for a
        transition ``candidate``, ``from``, ``to`` and ``reason``.
    """
    database = current_database()
    window: dict[str, Any] = {"at": {"$gte": since}} if since else {}
    if kinds is not None:
        window["kind"] = {"$in": sorted(kinds)}
    if candidate is not None:
        window["data.candidate"] = candidate
    own = database["events"].find({"campaign": campaign, **window}, {"_id": 0, "campaign": 0})
    wanted = kinds is None or TRANSITION in kinds
    merged = [*own, *(_transitions(campaign, since, candidate) if wanted else ())]
    merged.sort(key=lambda event: event["at"])
    return merged[-limit:] if limit else merged


@idempotent
def position() -> Timestamp:
    """Return the place in the server's log from which `follow` goes on."""
    answer: dict[str, Any] = current_database().command("ping")
    last: Timestamp = answer["operationTime"]
    return Timestamp(last.time, last.inc + 1)


def follow(
    campaign: str, start: Timestamp, stopped: Callable[[], bool] = lambda: False
) -> Iterator[dict[str, Any]]:
    """Yield what happens, as it happens.

    The server tells what changed (a change stream), so nothing is asked again and again, however
    many candidates there are.

    Args:
        campaign: Name of the campaign.
        start: From where on, see `position`.
        stopped: Asked about once a second; ends the iteration.

    Yields:
        Records as `events` returns them.
    """
    mine = [
        {
            "$match": {
                "ns.coll": {"$in": ["events", "candidates"]},
                "operationType": {"$in": ["insert", "update", "replace"]},
                "fullDocument.campaign": campaign,
            }
        }
    ]
    with current_database().watch(
        mine,
        full_document="updateLookup",
        max_await_time_ms=1000,
        start_at_operation_time=start,
    ) as stream:
        while not stopped():
            change = stream.try_next()
            if change is not None:
                yield from _happened(change)


def _happened(change: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Read the events that one change of the database is."""
    document = change["fullDocument"]
    if change["ns"]["coll"] == "events":
        yield {name: value for name, value in document.items() if name not in ("_id", "campaign")}
        return
    entries: list[dict[str, Any]] = document.get("history") or []
    if change["operationType"] == "update":
        fields = change["updateDescription"]["updatedFields"]
        if "history" in fields:  # written as a whole; one entry is appended at a time
            entries = fields["history"][-1:]
        else:
            entries = [value for name, value in fields.items() if name.startswith("history.")]
    for entry in entries:
        yield _transition(str(document["_id"]), entry)


def _transition(candidate: str, entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "candidate": candidate,
        "at": entry["at"],
        "kind": TRANSITION,
        "agent": entry["agent"],
        "from": entry.get("from"),
        "to": entry["to"],
        "reason": entry.get("reason"),
        "data": entry.get("inputs"),
    }


def _transitions(
    campaign: str, since: datetime | None, candidate: str | None = None
) -> list[dict[str, Any]]:
    own = {} if candidate is None else {"_id": candidate}
    window = [{"$match": {"history.at": {"$gte": since}}}] if since else []
    steps: list[dict[str, Any]] = [
        {"$match": {"campaign": campaign, "seq": {"$gte": 0}, **own}},
        {"$sort": {"campaign": 1, "seq": 1}},
        {"$project": {"history": 1}},
        {"$unwind": "$history"},
        *window,
        {
            "$project": {
                "_id": 0,
                "candidate": "$_id",
                "at": "$history.at",
                "kind": {"$literal": TRANSITION},
                "agent": "$history.agent",
                "from": "$history.from",
                "to": "$history.to",
                "reason": {"$ifNull": ["$history.reason", None]},
                "data": "$history.inputs",
            }
        },
    ]
    return list(current_database()["candidates"].aggregate(steps))
