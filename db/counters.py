"""Numbers handed out once each."""

from __future__ import annotations

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from db.connection import current_database


def reserve(name: str, count: int) -> int:
    """Reserve consecutive numbers, starting at 0; a number is never handed out twice.

    Args:
        name: Name of the counter.
        count: How many numbers.

    Returns:
        The first of them.
    """
    counters = current_database()["counters"]
    change = {"$inc": {"next": count}}
    try:
        counter = counters.find_one_and_update(
            {"_id": name}, change, upsert=True, return_document=ReturnDocument.AFTER
        )
    except DuplicateKeyError:  # somebody created the counter at the same moment
        return reserve(name, count)
    assert counter is not None  # an upsert returns what it made
    return int(counter["next"]) - count
