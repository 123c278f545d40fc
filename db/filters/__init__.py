"""The filter language of ``discovery query``: OPTIMADE's grammar over a catalogue of names."""

from db.filters.expression import And, Expression, InvalidFilter
from db.filters.fields import Field, UnknownName, find_field
from db.filters.mongo import to_mongo
from db.filters.syntax import parse

__all__ = [
    "And",
    "Expression",
    "Field",
    "InvalidFilter",
    "UnknownName",
    "find_field",
    "parse",
    "to_mongo",
]
