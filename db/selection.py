"""Choosing candidates by a filter, in an order, one after the other.

Every question is asked campaign by campaign, so that the indexes, which begin with the campaign,
answer it; what belongs to all campaigns together is merged from these answers. Nothing is read
before it is asked for, and no more than one batch is held.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

import pymongo
from pymongo.errors import AutoReconnect

from db.connection import current_database
from db.filters import And, Expression, Field, find_field, parse, to_mongo
from db.filters.expression import Comparison, Has, InvalidFilter, Not, Operator, Or, Quantifier
from db.filters.fields import Kind, needs_model, unknown_name
from db.filters.values import value_for
from db.index_choice import choose_index
from db.plain import without_times
from db.property_table import properties
from db.retry import PATIENCE_SECONDS, PAUSE_SECONDS, idempotent

Document = dict[str, Any]

#: For the server's work on one answer, all batches together.
READ_SECONDS = 3600.0

#: Fields for indexes that say nothing new.
DERIVED = frozenset({"levels", "element_pairs", "n_elements", "properties"})

#: Every candidate has these, so that no condition is needed to find the ones that do.
ALWAYS_KNOWN = frozenset({"id", "campaign", "seq", "state", "created_at"})


@dataclass(frozen=True)
class Order:
    """What candidates are sorted by; ``descending`` reverses the whole order of known values."""

    field: Field
    descending: bool = False


@dataclass(frozen=True)
class Selection:
    """Which candidates, in which order, and what of them.

    Attributes:
        campaign: Of this campaign; None: of all.
        where: Of which this is true; None: all.
        order: What they are sorted by; None: by campaign and order of proposal.
        limit: At most so many.
        fields: Only these values of each, flat by their names; None: the whole record.
        without: Parts of the whole record to leave out.
        crystal: Beside ``fields``, return the crystal as ``structure``, see `best_structure`.
    """

    campaign: str | None = None
    where: Expression | None = None
    order: Order | None = None
    limit: int | None = None
    fields: tuple[Field, ...] | None = None
    without: tuple[str, ...] = ()
    crystal: bool = False


def select(
    campaign: str | None = None,
    *,
    where: str | None = None,
    status: str | Sequence[str] | None = None,
    hits: bool | None = None,
    elements: Sequence[str] | None = None,
    formula: str | None = None,
    sort: str | None = None,
    limit: int | None = None,
    fields: Sequence[str] | None = None,
    without: Sequence[str] = (),
    crystal: bool = False,
) -> Selection:
    """Put a question together; every short argument is a condition beside ``where``.

    Args:
        campaign: Name of the campaign; None: of all campaigns.
        where: A filter, see `db.filters`.
        status: One state or several.
        hits: Only those that DFT confirmed (True) or refuted (False).
        elements: Only those that contain all of these elements.
        formula: Only those of this formula.
        sort: A field; a leading "-" reverses. Candidates without it come last; equals are in order
            of campaign and proposal, reversed by "-" too.
        limit: Most records, of all campaigns together.
        fields: Names of the values to return, beside ``id``.
        without: Parts of the record to leave out, for instance ``history``.
        crystal: Return the crystal beside the ``fields``.

    Raises:
        InvalidFilter: A condition cannot be understood, or a list is to be sorted by.
        UnknownName: A field to sort by or to return does not exist.
    """
    terms: list[Expression] = [] if where is None else [parse(where)]
    if status is not None:
        terms.append(_equals("state", [status] if isinstance(status, str) else list(status)))
    if hits is not None:
        terms.append(_equals("hit", [hits]))
    if elements:
        listed = find_field("elements")
        values = dict.fromkeys(value_for(listed, symbol) for symbol in elements)
        terms.append(Has(listed, Quantifier.ALL, tuple(values)))
    if formula:
        terms.append(_equals("formula", [formula]))
    expression = None if not terms else terms[0] if len(terms) == 1 else And(tuple(terms))
    order = None if sort is None else Order(find_field(sort.removeprefix("-")), sort[0] == "-")
    if order is not None and order.field.kind is Kind.ELEMENTS:
        raise InvalidFilter(f"{order.field.name} is a list, which has no order")
    wanted = None
    if fields is not None:
        names = dict.fromkeys(("id", *fields))
        wanted = tuple(replace(find_field(name), name=name) for name in names)
    return Selection(campaign, expression, order, limit, wanted, tuple(without), crystal)


def stream(selection: Selection) -> Iterator[Document]:
    """Read the chosen candidates one after the other.

    A campaign that is running goes on meanwhile; each candidate is read as it is at that moment.

    Yields:
        Plain JSON records, see `record`; with ``fields`` flat ones, name to value.

    Raises:
        UnknownName: A model's number is named that no candidate of this database has.
    """
    require_models(selection)
    documents = islice(_documents(selection), selection.limit)
    if selection.fields is None:
        return (record(document) for document in documents)
    return (flat(document, selection.fields, selection.crystal) for document in documents)


@dataclass(frozen=True)
class Question:
    """One question to MongoDB about one campaign.

    Attributes:
        query: Its conditions.
        sort: Its order.
        index: The index that answers it; None: the server chooses.
    """

    query: Document
    sort: list[tuple[str, int]]
    index: str | None


def questions(selection: Selection, campaign: str) -> list[Question]:
    """Write what is asked about one campaign: one question, or those whose answers follow."""
    conditions = [] if selection.where is None else [to_mongo(selection.where)]
    order = selection.order
    if order is None:
        return [_question(selection, campaign, conditions, {"seq": 1})]
    path, direction = order.field.path, -1 if order.descending else 1
    sort = {path: direction, "seq": direction}
    if order.field.name in ALWAYS_KNOWN:
        return [_question(selection, campaign, conditions, sort)]
    known, unknown = {path: {"$exists": True, "$ne": None}}, {path: None}
    return [
        _question(selection, campaign, [*conditions, known], sort),
        _question(selection, campaign, [*conditions, unknown], {"seq": 1}),
    ]


@idempotent
def _question(
    selection: Selection, campaign: str, conditions: list[Document], order: dict[str, int]
) -> Question:
    sort = list(order.items())
    index = choose_index(
        current_database()["candidates"],
        campaign,
        conditions,
        sort,
        page=selection.limit is not None,
    )
    query = {"$and": [{"campaign": campaign}, *conditions]}
    return Question(query, sort, index)


def record(document: Document) -> Document:
    """Turn a stored candidate into a plain JSON record.

    Returns:
        The candidate's fields, ``id`` instead of ``_id``, times in ISO 8601, and ``properties``:
        one flat table, see `db.property_table.properties`.
    """
    found: Document = {
        name: without_times(value) for name, value in document.items() if name not in DERIVED
    }
    found["id"] = found.pop("_id")
    found["properties"] = properties(found)
    return found


def best_structure(record: Mapping[str, Any]) -> Document | None:
    """Return the relaxed crystal of a record, or the decoded one where none was relaxed."""
    relaxed: Document | None = (record.get("relaxation") or {}).get("structure")
    return relaxed or record.get("structure")


def value_at(document: Mapping[str, Any], field: Field) -> Any:
    """Read a field of a stored candidate; None where it is not known."""
    value: Any = document
    for part in field.path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value or None if field.kind is Kind.ELEMENTS else value


@idempotent
def campaigns_with_candidates() -> list[str]:
    """List the campaigns that have candidates, in order."""
    return sorted(current_database()["candidates"].distinct("campaign"))


def _documents(selection: Selection) -> Iterator[Document]:
    only = selection.campaign
    names = campaigns_with_candidates() if only is None else [only]
    asked = [questions(selection, name) for name in names]
    if selection.order is None:
        return chain.from_iterable(_read(parts[0], selection) for parts in asked)
    order = selection.order

    def key(document: Document) -> Any:
        return (value_at(document, order.field), document["campaign"], document["seq"])

    known = heapq.merge(
        *(_read(parts[0], selection) for parts in asked), key=key, reverse=order.descending
    )
    unknown = (_read(question, selection) for parts in asked for question in parts[1:])
    return chain(known, chain.from_iterable(unknown))


def _read(question: Question, selection: Selection) -> Iterator[Document]:
    """Read an answer; where the server restarts in the middle, go on where it broke off."""
    collection = current_database()["candidates"]
    shown = projection(selection)
    given, lost_since = 0, None
    while selection.limit is None or given < selection.limit:
        left = 0 if selection.limit is None else selection.limit - given
        try:
            # The time limit of a find command counts for its whole answer, however long that is.
            with pymongo.timeout(READ_SECONDS):
                cursor = collection.find(
                    question.query,
                    shown,
                    sort=question.sort,
                    skip=given,
                    limit=left,
                    hint=question.index,
                    allow_disk_use=True,
                )
                found = next(cursor, None)
            while found is not None:
                given, lost_since = given + 1, None
                yield found
                found = next(cursor, None)
            return
        except AutoReconnect:
            now = time.monotonic()
            lost_since = lost_since or now
            if now - lost_since > PATIENCE_SECONDS:
                raise
            time.sleep(PAUSE_SECONDS)


def projection(selection: Selection) -> dict[str, int] | None:
    """Write which parts of a stored candidate are read; None: all."""
    if selection.fields is None:
        return dict.fromkeys(selection.without, 0) or None
    paths = ["campaign", "seq", *(field.path for field in selection.fields)]
    if selection.order is not None:
        paths.append(selection.order.field.path)
    if selection.crystal:
        paths += ["structure", "relaxation.structure"]
    return dict.fromkeys(paths, 1)


def require_models(selection: Selection) -> None:
    """Refuse the name of a model that no candidate has: it is misspelt."""
    fields = [] if selection.where is None else list(_fields(selection.where))
    fields += [] if selection.order is None else [selection.order.field]
    for field in dict.fromkeys([*fields, *(selection.fields or ())]):
        if needs_model(field) and not _exists(field):
            raise unknown_name(field.name)


@idempotent
def _exists(field: Field) -> bool:
    found = current_database()["candidates"].find_one({field.path: {"$exists": True}}, {"_id": 1})
    return found is not None


def _fields(expression: Expression) -> Iterator[Field]:
    match expression:
        case Not(term):
            yield from _fields(term)
        case And(terms) | Or(terms):
            for one in terms:
                yield from _fields(one)
        case _:
            yield expression.field


def _equals(name: str, values: Sequence[Any]) -> Expression:
    field = find_field(name)
    if not values:
        raise InvalidFilter(f"no {name} is given")
    terms = tuple(
        Comparison(field, Operator.EQUAL, value_for(field, _unwrapped(value))) for value in values
    )
    return terms[0] if len(terms) == 1 else Or(terms)


def _unwrapped(value: Any) -> Any:
    return str(value) if isinstance(value, str) else value  # states are string enums


def flat(document: Document, fields: Sequence[Field], crystal: bool) -> Document:
    """Write a stored candidate as its values by their names, see `Selection.fields`."""
    values = {field.name: without_times(value_at(document, field)) for field in fields}
    return {**values, "structure": best_structure(document)} if crystal else values
