"""One page of a long answer, for people who look at it: quickly, or not at all.

`db.selection.stream` reads an answer from its beginning to its end, however long that takes. Here
the server skips what stands before the page, and both functions give up after a set time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pymongo
from pymongo.errors import PyMongoError

from db.connection import current_database
from db.index_choice import ORDER_OF_PROPOSAL, SORTED_INDEXES
from db.selection import (
    Document,
    Question,
    Selection,
    flat,
    projection,
    questions,
    record,
    require_models,
)


class TooSlow(ValueError):
    """An answer that would take longer than its reader wants to wait."""


@dataclass(frozen=True)
class Total:
    """How many candidates there are.

    Attributes:
        count: So many have been counted.
        whole: Whether that is all of them; else there are more, or counting took too long.
    """

    count: int
    whole: bool


def read_page(
    selection: Selection, campaign: str, *, first: int, size: int, seconds: float
) -> list[Document]:
    """Read one page of a campaign's chosen candidates.

    Args:
        selection: As for `db.selection.stream`; its campaign and limit are not looked at.
        campaign: Name of the campaign.
        first: How many candidates stand before the page.
        size: Most candidates on it.
        seconds: To wait at most.

    Returns:
        The candidates, as `db.selection.stream` gives them.

    Raises:
        TooSlow: The server needs longer.
        UnknownName: A model's number is named that no candidate of this database has.
    """
    require_models(selection)
    page = replace(selection, campaign=campaign, limit=first + size)
    asked = questions(page, campaign)
    try:
        with pymongo.timeout(seconds):
            documents = _read(page, asked, first, size)
    except PyMongoError as error:
        if not error.timeout:
            raise
        raise _too_slow(seconds) from None
    if page.fields is None:
        return [record(document) for document in documents]
    return [flat(document, page.fields, page.crystal) for document in documents]


def count(selection: Selection, campaign: str, *, most: int, seconds: float) -> Total:
    """Count a campaign's chosen candidates, up to a number and for a time.

    Args:
        selection: Its order is not looked at.
        campaign: Name of the campaign.
        most: To count at most.
        seconds: To wait at most.
    """
    page = replace(selection, campaign=campaign, limit=None, order=None)
    (asked,) = questions(page, campaign)
    try:
        with pymongo.timeout(seconds):
            found = _count(asked, most + 1)
    except PyMongoError as error:
        if not error.timeout:
            raise
        return Total(0, whole=False)
    return Total(min(found, most), whole=found <= most)


def _read(page: Selection, asked: list[Question], first: int, size: int) -> list[Document]:
    """Read from the questions whose answers follow each other, skipping what stands before."""
    documents: list[Document] = []
    skip = first
    for place, question in enumerate(asked):
        found = _skipped_to(page, question, skip, size - len(documents))
        documents += found
        if len(documents) == size or place == len(asked) - 1:
            break
        skip = 0 if found or not skip else skip - _count(question, skip)
    return documents


def _skipped_to(page: Selection, question: Question, skip: int, limit: int) -> list[Document]:
    """Read a few candidates of an answer.

    What stands before them is skipped in the index where it holds everything that is asked; the
    documents of the page are read by their numbers in a second step. In one step the server reads
    every document that it skips.
    """
    candidates = current_database()["candidates"]
    index = _index(question)
    numbers = [
        one["seq"]
        for one in candidates.find(
            question.query,
            {"_id": 0, "seq": 1},
            sort=question.sort,
            skip=skip,
            limit=limit,
            hint=index,
            allow_disk_use=True,
        )
    ]
    found = {
        one["seq"]: one
        for one in candidates.find(
            {"campaign": page.campaign, "seq": {"$in": numbers}},
            projection(page),
            hint=ORDER_OF_PROPOSAL,
        )
    }
    return [found[number] for number in numbers if number in found]


def _index(question: Question) -> str | None:
    """Choose the index where no condition has one: that of the order, else all are read in order.

    Left to choose, the server tries each of its indexes on the documents, because all begin with
    the campaign: that takes twelve times what reading everything once takes (2.0 against 0.17 s of
    processor time for 100,000 candidates). It is better at conditions joined by OR, and at ids.
    """
    if question.index is not None:
        return question.index
    names = set(_names(question.query))
    if names & {"_id", "$or", "$nor"}:
        return None
    path, _ = question.sort[0]
    if names <= {"$and", "campaign", path, "$exists", "$ne"}:
        return SORTED_INDEXES.get(path, ORDER_OF_PROPOSAL)
    return ORDER_OF_PROPOSAL


def _names(condition: Any) -> Iterator[str]:
    """Go through the paths and operators of a query."""
    if isinstance(condition, dict):
        for name, value in condition.items():
            yield name
            yield from _names(value)
    elif isinstance(condition, list):
        for one in condition:
            yield from _names(one)


def _count(question: Question, most: int) -> int:
    index = _index(question)
    hint: dict[str, Any] = {"hint": index} if index else {}
    candidates = current_database()["candidates"]
    return int(candidates.count_documents(question.query, limit=most, **hint))


def _too_slow(seconds: float) -> TooSlow:
    return TooSlow(
        f"this takes the database longer than {seconds:g} s: narrow the filter, sort by a number "
        "that has an index (docs/query.md), or let discovery query take its time"
    )
