"""Values in filters: what each kind of field may be compared with, and how."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from db.filters.expression import InvalidFilter, Operator, Part
from db.filters.fields import NUMERIC, ORDERED, STATES, TEXTUAL, Field, Kind
from db.suggestion import did_you_mean

LONGEST_FORMULA = 100
_PERIODS = (
    "H He",
    "Li Be B C N O F Ne",
    "Na Mg Al Si P S Cl Ar",
    "K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr",
    "Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe",
    "Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb "
    "Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn",
    "Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No "
    "Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og",
)
ELEMENTS = frozenset(symbol for period in _PERIODS for symbol in period.split())
_FORMULA = re.compile(r"[A-Za-z0-9().]+")


def is_listed(field: Field) -> bool:
    """Say whether a field is a list."""
    return field.kind is Kind.ELEMENTS


def require_operator(field: Field, operator: Operator) -> None:
    """Refuse a comparison that the field's values do not have.

    Raises:
        InvalidFilter: A list is compared, or a text or truth is ordered.
    """
    if is_listed(field):
        raise InvalidFilter(f'{field.name} is a list: write {field.name} HAS ALL "Ga","N"')
    if field.kind not in ORDERED and operator not in (Operator.EQUAL, Operator.NOT_EQUAL):
        raise InvalidFilter(f"{field.name} is a {field.kind}: it has = and !=, not {operator}")


def value_for(field: Field, given: Any) -> Any:
    """Bring a given value to the form in which the field is stored.

    Args:
        field: What it is compared with.
        given: A text, number or truth.

    Raises:
        InvalidFilter: The field's values cannot be this.
    """
    if field.kind is Kind.FOREIGN:
        return given
    if field.kind in NUMERIC:
        return _number(field, given)
    if field.kind is Kind.TRUTH:
        if not isinstance(given, bool):
            raise InvalidFilter(f"{field.name} is TRUE or FALSE, not {_shown(given)}")
        return given
    if not isinstance(given, str):
        raise InvalidFilter(f"{field.name} is a {field.kind}: write the value in double quotes")
    if field.kind is Kind.STATE:
        if given not in STATES:
            raise InvalidFilter(
                f"{_shown(given)} is not a state: use one of {', '.join(STATES)}."
                f"{did_you_mean(str(given), STATES)}"
            )
    elif field.kind is Kind.FORMULA:
        return _reduced_formula(given)
    elif field.kind is Kind.SYSTEM:
        return "-".join(sorted({_element(symbol) for symbol in given.split("-")}))
    elif field.kind is Kind.ELEMENTS:
        return _element(given)
    elif field.kind is Kind.TIME:
        return _time(field, given)
    return given


def text_value(field: Field, part: Part, given: Any) -> str:
    """Check what is looked for in a text.

    Raises:
        InvalidFilter: The field is no text, or this is none.
    """
    if field.kind not in TEXTUAL:
        raise InvalidFilter(f"{field.name} is a {field.kind}: {part} is for texts")
    if not isinstance(given, str) or not given:
        raise InvalidFilter(f"{part} takes a text in double quotes that is not empty")
    return given


def integer_value(field: Field, given: Any) -> int:
    """Check a whole number."""
    return int(_number(field, given))


def _number(field: Field, given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise InvalidFilter(f"{field.name} is a number, not {_shown(given)}")
    return given


def _reduced_formula(given: str) -> str:
    if len(given) > LONGEST_FORMULA or not _FORMULA.fullmatch(given):
        raise InvalidFilter(f'{_shown(given)} is no formula: write for instance formula = "GaN"')
    from pymatgen.core import Composition

    try:
        formula = Composition(given, strict=True).reduced_formula
    except (ValueError, ArithmeticError) as error:
        raise InvalidFilter(
            f'{_shown(given)} is no formula: write for instance formula = "GaN"'
        ) from error
    if not formula:
        raise InvalidFilter(f"{_shown(given)} is a formula without atoms")
    return str(formula)


def _element(given: str) -> str:
    if given not in ELEMENTS:
        raise InvalidFilter(f"{_shown(given)} is no chemical element")
    return given


def _time(field: Field, given: str) -> datetime:
    try:
        time = datetime.fromisoformat(given)
    except ValueError:
        raise InvalidFilter(
            f'{_shown(given)} is no time: write {field.name} >= "2026-11-21T08:00:00Z"'
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _shown(given: Any) -> str:
    text = ascii(given)
    return text if len(text) <= 60 else f"{text[:57]}..."
