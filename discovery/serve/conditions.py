"""Filters by values that are not stored: evaluated here, asked as ids or formulas.

OPTIMADE writes formulas in alphabetical order and an entry's time as that of its last change. Both
follow from what is stored; so a condition on them is evaluated for each stored value of the served
candidates, and the database is asked for those of which it is true.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from db.connection import current_database
from db.filters import And, Expression, InvalidFilter, to_mongo
from db.filters.expression import Comparison, Has, Known, Not, OneOf, Operator, Or, Part, TextMatch
from db.retry import idempotent
from db.selection import campaigns_with_candidates
from discovery.serve.names import DERIVED, FORMULA, ID

NEVER = OneOf(ID, ())
ALWAYS = Not(NEVER)
#: The same for every candidate; the cell of a slab is served with its vacuum, as it was computed.
CONSTANT = {"type": "structures", "nperiodic_dimensions": 3}

#: Conditions of one filter that are asked as ids; each may be a list of all served candidates.
MOST_ASKED_AS_IDS = 4

_COMPARE: dict[Operator, Callable[[Any, Any], bool]] = {
    Operator.LESS: operator.lt,
    Operator.LESS_OR_EQUAL: operator.le,
    Operator.GREATER: operator.gt,
    Operator.GREATER_OR_EQUAL: operator.ge,
    Operator.EQUAL: operator.eq,
    Operator.NOT_EQUAL: operator.ne,
}
_MATCH: dict[Part, Callable[[str, str], bool]] = {
    Part.ANYWHERE: operator.contains,
    Part.START: str.startswith,
    Part.END: str.endswith,
}


def resolve(expression: Expression, served: Expression) -> Expression:
    """Replace conditions on derived values by conditions on stored ones.

    Args:
        expression: A filter as `db.filters.parse` reads it with `find_property`.
        served: Which candidates are served; each of them has every derived value.

    Returns:
        A filter that `db.filters.to_mongo` compiles.

    Raises:
        InvalidFilter: More than `MOST_ASKED_AS_IDS` of its conditions are asked as ids.
    """
    return _replaced(expression, _Served(served))


def _replaced(expression: Expression, served: _Served) -> Expression:
    match expression:
        case Not(term):
            return Not(_replaced(term, served))
        case And(terms):
            return And(tuple(_replaced(term, served) for term in terms))
        case Or(terms):
            return Or(tuple(_replaced(term, served) for term in terms))
        case _ if DERIVED.get(expression.field.name) is not expression.field:
            return expression
        case Known(_, known):
            return ALWAYS if known else NEVER
        case Comparison() | TextMatch():
            return _resolved(expression, served)
        case Has() | OneOf():  # of an empty list
            return NEVER


class _Served:
    """The derived values of the served candidates, each read once for a filter."""

    def __init__(self, served: Expression) -> None:
        self._served = served
        self._asked_as_ids = 0
        self._written: dict[str, list[tuple[str, str]]] = {}

    def formulas(self, name: str) -> list[tuple[str, str]]:
        """Return the stored formulas, each with what the standard writes under a name."""
        if name not in self._written:
            write = FORMULAS[name]
            self._written[name] = [(one, write(one)) for one in self._formulas]
        return self._written[name]

    def by_id(self, name: str) -> Sequence[tuple[str, Any]]:
        """Return all ids, each with its value.

        Raises:
            InvalidFilter: They were asked for too often.
        """
        self._asked_as_ids += 1
        if self._asked_as_ids > MOST_ASKED_AS_IDS:
            raise InvalidFilter(
                f"a filter has {MOST_ASKED_AS_IDS} conditions on nsites and last_modified at most"
            )
        return self._numbers_of_sites if name == "nsites" else self._times

    @cached_property
    def _formulas(self) -> list[str]:
        return _formulas(self._served)

    @cached_property
    def _times(self) -> list[tuple[str, datetime]]:
        return _times(self._served)

    @cached_property
    def _numbers_of_sites(self) -> list[tuple[str, int]]:
        return _numbers_of_sites(self._served)


def _resolved(term: Comparison | TextMatch, served: _Served) -> Expression:
    name = term.field.name
    if name in CONSTANT:
        return ALWAYS if _holds(term, CONSTANT[name]) else NEVER
    if name in FORMULAS:
        found = served.formulas(name)
        return OneOf(FORMULA, tuple(one for one, value in found if _holds(term, value)))
    if name in ("nsites", "last_modified"):
        ids = served.by_id(name)
        return OneOf(ID, tuple(one for one, value in ids if _holds(term, value)))
    # structure_features, of which the length alone is compared: 0
    counts = isinstance(term, Comparison) and not isinstance(term.value, str)
    return ALWAYS if counts and _holds(term, 0) else NEVER


def _holds(term: Comparison | TextMatch, value: Any) -> bool:
    if isinstance(term, Comparison):
        return _COMPARE[term.operator](value, term.value)
    return _MATCH[term.part](value, term.text)


def reduced(formula: str) -> str:
    """Write a formula as ``chemical_formula_reduced``: alphabetical, no common divisor."""
    from optimade.models.utils import reduce_formula
    from pymatgen.core import Composition

    return str(reduce_formula(Composition(formula).formula))


def anonymous(formula: str) -> str:
    """Write a formula as ``chemical_formula_anonymous``: A is the most frequent element."""
    from optimade.models.utils import anonymize_formula
    from pymatgen.core import Composition

    return str(anonymize_formula(Composition(formula).formula))


FORMULAS = {"chemical_formula_reduced": reduced, "chemical_formula_anonymous": anonymous}


def last_modified(document: dict[str, Any]) -> datetime:
    """Return the time of the last change of a stored candidate."""
    times = [entry["at"] for entry in document.get("history") or () if entry.get("at")]
    found: datetime = max([document["created_at"], *times])
    return found


def compound(document: dict[str, Any]) -> str | None:
    """Return the hash of the calculation of a candidate's crystal."""
    hashes = (document.get("verification") or {}).get("calculations") or {}
    found: str | None = hashes.get("compound")
    return found


@idempotent
def computed_structures(documents: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Read the crystals that DFT computed, by the hashes of their calculations."""
    hashes = [name for one in documents if (name := compound(one)) is not None]
    asked = {"_id": {"$in": hashes}, "result.structure": {"$ne": None}}
    found = current_database()["calculations"].find(asked, {"result.structure": 1})
    return {one["_id"]: one["result"]["structure"] for one in found}


def _asked(served: Expression) -> dict[str, Any]:
    # Every index begins with the campaign.
    return {"campaign": {"$in": campaigns_with_candidates()}, **to_mongo(served)}


@idempotent
def _formulas(served: Expression) -> list[str]:
    return list(current_database()["candidates"].distinct("formula", _asked(served)))


@idempotent
def _times(served: Expression) -> list[tuple[str, datetime]]:
    shown = {"history.at": 1, "created_at": 1}
    found = current_database()["candidates"].find(_asked(served), shown)
    return [(one["_id"], last_modified(one)) for one in found]


@idempotent
def _numbers_of_sites(served: Expression) -> list[tuple[str, int]]:
    # DFT may have computed a smaller cell than the candidate's, and that one is served.
    shown = {"n_atoms": 1, "verification.calculations.compound": 1}
    found = list(current_database()["candidates"].find(_asked(served), shown))
    hashes = [name for one in found if (name := compound(one)) is not None]
    sizes = {
        one["_id"]: one["size"]
        for one in current_database()["calculations"].aggregate(
            [
                {"$match": {"_id": {"$in": hashes}, "result.structure": {"$ne": None}}},
                {"$project": {"size": {"$size": "$result.structure.species"}}},
            ]
        )
    }
    return [(one["_id"], sizes.get(compound(one) or "", one["n_atoms"])) for one in found]
