"""From a filter's tree to a MongoDB query.

An unknown value (missing or null) fulfils no comparison and no negated one, as in OPTIMADE; MongoDB
says otherwise of ``$ne``, ``$nin`` and ``$not``, so negations are pushed down to the comparisons
and each of those asks that the value is known. Only values typed by a person reach the query, never
operators or names: those come from the catalogue.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from db.filters.expression import (
    And,
    Comparison,
    Expression,
    Has,
    Known,
    Not,
    OneOf,
    Operator,
    Or,
    Part,
    Quantifier,
    TextMatch,
)
from db.filters.fields import Field, Kind
from db.property_table import element_pairs

Query = dict[str, Any]

_OPERATORS = {
    Operator.LESS: "$lt",
    Operator.LESS_OR_EQUAL: "$lte",
    Operator.GREATER: "$gt",
    Operator.GREATER_OR_EQUAL: "$gte",
    Operator.EQUAL: "$eq",
}
_CONTRARY = {
    Operator.LESS: Operator.GREATER_OR_EQUAL,
    Operator.LESS_OR_EQUAL: Operator.GREATER,
    Operator.GREATER: Operator.LESS_OR_EQUAL,
    Operator.GREATER_OR_EQUAL: Operator.LESS,
    Operator.EQUAL: Operator.NOT_EQUAL,
    Operator.NOT_EQUAL: Operator.EQUAL,
}


def to_mongo(expression: Expression, *, negated: bool = False) -> Query:
    """Compile a filter.

    Args:
        expression: What it says.
        negated: Compile its contrary.

    Returns:
        A query that finds the documents of which it is true.
    """
    match expression:
        case Not(term):
            return to_mongo(term, negated=not negated)
        case And(terms) | Or(terms):
            every = isinstance(expression, And) is not negated
            found = [to_mongo(term, negated=negated) for term in terms]
            return {"$and" if every else "$or": found}
        case Comparison(field, operator, value):
            return _comparison(field, _CONTRARY[operator] if negated else operator, value)
        case OneOf(field, values):
            return {field.path: {"$nin": [*values, None]} if negated else {"$in": list(values)}}
        case Known(field, known):
            return _known(field, known is not negated)
        case TextMatch(field, part, text):
            matched = {"$regex": _pattern(part, text)}
            return {field.path: {"$not": matched, "$ne": None} if negated else matched}
        case Has():
            return _has(expression, negated)


def _comparison(field: Field, operator: Operator, value: Any) -> Query:
    if operator is Operator.NOT_EQUAL:
        return {field.path: {"$nin": [value, None]}}
    return {field.path: {_OPERATORS[operator]: value}}


def _known(field: Field, known: bool) -> Query:
    if field.kind is Kind.ELEMENTS:  # an empty list is unknown too
        return {f"{field.path}.0": {"$exists": known}}
    # $exists lets the partial indexes be used; null is stored by some writers.
    return {field.path: {"$exists": True, "$ne": None} if known else None}


def _pattern(part: Part, text: str) -> str:
    literal = re.escape(text)
    return {Part.START: f"^{literal}", Part.END: rf"{literal}\z", Part.ANYWHERE: literal}[part]


def _has(has: Has, negated: bool) -> Query:
    path, values = has.field.path, list(has.values)
    if has.quantifier is Quantifier.ONLY:
        others = {"$elemMatch": {"$nin": values}}
        # $in says nothing new, but an index answers it.
        return {path: others if negated else {"$in": values, "$not": others}}
    every = has.quantifier is Quantifier.ALL
    if every and len(values) > 1 and not negated:
        return {
            "element_pairs": {
                "$all": [pair for two in pairwise(values) for pair in element_pairs(two)]
            }
        }
    found = {"$all" if every else "$in": values}
    if not negated:
        return {path: found}
    return {"$and": [{path: {"$not": found}}, _known(has.field, True)]}
