"""What a filter says, as a tree of frozen records; independent of grammar and database."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from db.filters.fields import Field


class InvalidFilter(ValueError):
    """A filter that cannot be understood; the sentence says what is wrong and what to write."""

    exit_code = 2


class Operator(StrEnum):
    """Comparisons of single values."""

    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="
    EQUAL = "="
    NOT_EQUAL = "!="


class Part(StrEnum):
    """Where in a text another one is looked for."""

    ANYWHERE = "CONTAINS"
    START = "STARTS"
    END = "ENDS"


class Quantifier(StrEnum):
    """How the values of a list are compared with given ones."""

    ALL = "ALL"
    ANY = "ANY"
    ONLY = "ONLY"


@dataclass(frozen=True)
class Comparison:
    """A single value compared with a given one; false where the value is unknown."""

    field: Field
    operator: Operator
    value: Any


@dataclass(frozen=True)
class TextMatch:
    """A text that contains, starts or ends with a given one; false where it is unknown."""

    field: Field
    part: Part
    text: str


@dataclass(frozen=True)
class Has:
    """A list that has all, any or only the given values; false where it is unknown."""

    field: Field
    quantifier: Quantifier
    values: tuple[str, ...]


@dataclass(frozen=True)
class OneOf:
    """A single value that is one of the given ones; false where it is unknown."""

    field: Field
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Known:
    """Whether a value is known."""

    field: Field
    known: bool = True


@dataclass(frozen=True)
class Not:
    """The contrary; an unknown value fulfils neither a comparison nor its contrary."""

    term: Expression


@dataclass(frozen=True)
class And:
    """All terms."""

    terms: tuple[Expression, ...]


@dataclass(frozen=True)
class Or:
    """At least one term."""

    terms: tuple[Expression, ...]


Expression = Comparison | TextMatch | Has | OneOf | Known | Not | And | Or
