"""From a text in the OPTIMADE filter language to a tree of records; nothing in it is evaluated.

Grammar: OPTIMADE 1.2 (Andersen et al., doi 10.1038/s41597-021-00974-z), as distributed with the
package ``optimade``. It is read by an LALR parser, whose time grows linearly with the text.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from db.filters.expression import (
    And,
    Comparison,
    Expression,
    Has,
    InvalidFilter,
    Known,
    Not,
    Operator,
    Or,
    Part,
    Quantifier,
    TextMatch,
)
from db.filters.fields import Field, Kind, UnknownName, find_field
from db.filters.values import integer_value, is_listed, require_operator, text_value, value_for

if TYPE_CHECKING:
    from lark import Lark

Node = Any  # a tree of lark, or one of its tokens

GRAMMAR = (1, 2, 0)
LONGEST = 10_000
DEEPEST = 20
_MIRRORED = {
    Operator.LESS: Operator.GREATER,
    Operator.LESS_OR_EQUAL: Operator.GREATER_OR_EQUAL,
    Operator.GREATER: Operator.LESS,
    Operator.GREATER_OR_EQUAL: Operator.LESS_OR_EQUAL,
    Operator.EQUAL: Operator.EQUAL,
    Operator.NOT_EQUAL: Operator.NOT_EQUAL,
}


def parse(text: str, find: Callable[[str], Field] = find_field) -> Expression:
    """Read a filter.

    Args:
        text: For instance ``band_gap >= 0.5 AND elements HAS ALL "Ga","N"``.
        find: Looks names up; raises `UnknownName`.

    Returns:
        What it says, with every name and value checked.

    Raises:
        InvalidFilter: It is no filter, too long or too deep, names a field that does not exist, or
            compares a field with what its values cannot be.
    """
    _require_readable(text)
    from lark.exceptions import UnexpectedInput

    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        raise InvalidFilter(_complaint(text, error)) from None
    parts: list[Node] = tree.children
    if len(parts) != 1:
        second = parts[1].meta.start_pos
        raise InvalidFilter(
            f"the filter has two conditions side by side at character {second + 1} "
            f"({_excerpt(text, second)}): join them with AND or OR"
        )
    try:
        return _Reader(text, find).expression(parts[0], depth=0)
    except UnknownName as error:
        raise InvalidFilter(str(error)) from None


@cache
def _parser() -> Lark:
    from lark import Lark
    from optimade.filterparser.lark_parser import AVAILABLE_PARSERS

    # The package's own LarkParser reads the same file with Earley's algorithm, whose time grows
    # faster than the text, and without positions, without which TRUE and FALSE look the same.
    grammar = AVAILABLE_PARSERS[GRAMMAR]["default"].read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", maybe_placeholders=False, propagate_positions=True)


def _require_readable(text: str) -> None:
    if not text.strip():
        raise InvalidFilter("the filter is empty: write for instance band_gap >= 0.5")
    if len(text) > LONGEST:
        raise InvalidFilter(f"the filter has {len(text)} characters: at most {LONGEST} are read")
    for position, character in enumerate(text):
        if unicodedata.category(character) in ("Cc", "Cs") and character not in "\t\n\r":
            raise InvalidFilter(
                f"character {position + 1} of the filter is {character!a}, which is no text"
            )


def _complaint(text: str, error: Exception) -> str:
    token = getattr(error, "token", None)
    position = getattr(error, "pos_in_stream", None) if token is None else token.start_pos
    if position is None or (token is not None and token.type == "$END"):
        return "the filter ends too early: a condition is a name, an operator and a value"
    return (
        f"the filter cannot be read at character {position + 1} ({_excerpt(text, position)}): "
        'write conditions such as band_gap >= 0.5, state = "verified" or elements HAS "Ga", joined '
        "by AND, OR, NOT and parentheses"
    )


def _excerpt(text: str, position: int) -> str:
    found = " ".join(text[position : position + 24].split())
    return f"at {found!a}" if len(text) > position + 24 else f"{found!a}"


class _Reader:
    """Walks the parser's tree."""

    def __init__(self, text: str, find: Callable[[str], Field]) -> None:
        self._text = text
        self._find = find

    def expression(self, tree: Node, depth: int) -> Expression:
        if depth > DEEPEST:
            raise InvalidFilter(f"the filter nests parentheses more than {DEEPEST} deep")
        terms = tuple(self._clause(clause, depth) for clause in tree.children)
        return terms[0] if len(terms) == 1 else Or(terms)

    def _clause(self, tree: Node, depth: int) -> Expression:
        terms = tuple(self._phrase(phrase, depth) for phrase in tree.children)
        return terms[0] if len(terms) == 1 else And(terms)

    def _phrase(self, tree: Node, depth: int) -> Expression:
        *negation, inner = tree.children
        if inner.data == "expression":
            term = self.expression(inner, depth + 1)
        else:
            (comparison,) = inner.children
            term = self._comparison(comparison)
        return Not(term) if negation else term

    def _comparison(self, tree: Node) -> Expression:
        if tree.data == "constant_first_comparison":
            constant, operator, right = tree.children
            (name,) = right.children
            if getattr(name, "data", None) != "property":
                raise InvalidFilter("a condition compares a field with a value, not two values")
            field = self._field(name)
            return self._compare(field, _MIRRORED[Operator(operator)], constant.children[0])
        name, right = tree.children
        field = self._field(name)
        if right.data == "value_op_rhs":
            operator, value = right.children
            return self._compare(field, Operator(operator), value.children[0])
        if right.data == "known_op_rhs":
            return Known(field, right.children[1] == "KNOWN")
        if right.data == "fuzzy_string_op_rhs":
            part = Part(right.children[0])
            text = text_value(field, part, self._value(right.children[-1].children[0]))
            return TextMatch(field, part, text)
        if right.data == "set_op_rhs":
            return self._has(field, right.children)
        if right.data == "length_op_rhs":
            return self._length(field, right.children)
        raise InvalidFilter("lists are not compared in pairs (a:b HAS x:y) here")

    def _compare(self, field: Field, operator: Operator, value: Node) -> Expression:
        require_operator(field, operator)
        return Comparison(field, operator, value_for(field, self._value(value)))

    def _has(self, field: Field, parts: list[Node]) -> Expression:
        if not is_listed(field) and field.kind is not Kind.FOREIGN:
            raise InvalidFilter(f"{field.name} is a {field.kind}, not a list: HAS is for elements")
        if getattr(parts[1], "type", None) == "OPERATOR":
            raise InvalidFilter('HAS takes values without an operator: elements HAS "Ga"')
        if len(parts) == 2:  # HAS alone
            quantifier, listed = Quantifier.ALL, [parts[1]]
        else:
            quantifier, listed = Quantifier(parts[1]), parts[2].children
        if any(getattr(one, "type", None) == "OPERATOR" for one in listed):
            raise InvalidFilter('HAS takes values without an operator: elements HAS "Ga"')
        values = [value_for(field, self._value(one.children[0])) for one in listed]
        return Has(field, quantifier, tuple(dict.fromkeys(values)))

    def _length(self, field: Field, parts: list[Node]) -> Expression:
        if not is_listed(field) and field.kind is not Kind.FOREIGN:
            raise InvalidFilter(f"{field.name} is a {field.kind}, not a list: it has no LENGTH")
        operator = Operator(parts[1]) if len(parts) == 3 else Operator.EQUAL
        length = find_field("nelements") if is_listed(field) else field
        return Comparison(length, operator, integer_value(length, self._value(parts[-1])))

    def _field(self, tree: Node) -> Field:
        return self._find(".".join(tree.children))

    def _value(self, tree: Node) -> str | float | bool:
        written = self._text[tree.meta.start_pos : tree.meta.end_pos]
        if tree.data == "bool":
            return written == "TRUE"
        if tree.data == "property":
            raise InvalidFilter(
                f"{written[:80]!a} is a name where a value belongs: texts are written in double "
                "quotes, truth as TRUE or FALSE, and two fields are not compared"
            )
        if tree.data == "string":
            return re.sub(r"\\(.)", r"\1", written[1:-1], flags=re.DOTALL)
        number = float(written)
        if not math.isfinite(number) or abs(number) > 2**53:
            raise InvalidFilter(f"{written[:40]} is too large a number")
        return int(written) if tree.children[0].type == "SIGNED_INT" else number
