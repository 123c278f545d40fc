"""One page of a long answer, for people who look at it: quickly, or not at all.

`db.selection.stream` reads an answer from its beginning to its end, however long that takes. Here
the server skips what stands before the page, and both functions give up after a set time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pymongo
from pymongo.errors import PyMongoError

from db.connection import current_database
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
        found = list(
            current_database()["candidates"].find(
                question.query,
                projection(page),
                sort=question.sort,
                skip=skip,
                limit=size - len(documents),
                hint=question.index,
                allow_disk_use=True,
            )
        )
        documents += found
        if len(documents) == size or place == len(asked) - 1:
            break
        skip = 0 if found or not skip else skip - _count(question, skip)
    return documents


def _count(question: Question, most: int) -> int:
    hint: dict[str, Any] = {"hint": question.index} if question.index else {}
    candidates = current_database()["candidates"]
    return int(candidates.count_documents(question.query, limit=most, **hint))


def _too_slow(seconds: float) -> TooSlow:
    return TooSlow(
        f"this takes the database longer than {seconds:g} s: narrow the filter, sort by a number "
        "that has an index (docs/query.md), or let discovery query take its time"
    )
