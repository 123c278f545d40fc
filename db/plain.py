"""Plain JSON: checked before it is written, and made of what was read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

LARGEST_INT = 2**63


class NotPlain(ValueError):
    """A value that cannot be a JSON value of a record."""


def plain(value: Any, where: str) -> Any:
    """Convert a value into plain JSON.

    Tuples become lists, arrays and their scalars Python numbers, string enums strings. Times are
    kept.

    Args:
        value: The value.
        where: Name of the field, for the message.

    Returns:
        The value as dict, list, str, int, float, bool, datetime or None.

    Raises:
        NotPlain: NaN, infinity, an integer of more than 64 bits, a key that is not a plain name, or
            an object of another kind; the message names the key.
    """
    if value is None or isinstance(value, bool | datetime):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        if not -LARGEST_INT <= value < LARGEST_INT:
            raise NotPlain(f"{where} = {value} has more than 64 bits: store it as a string")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotPlain(f"{where} is {value}, which JSON cannot hold: store None and a reason")
        return float(value)
    if isinstance(value, Mapping):
        return {_key(key, where): plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if hasattr(value, "tolist"):  # numpy and torch, without importing them
        return plain(value.tolist(), where)
    raise NotPlain(f"{where} is a {type(value).__name__}: convert it to plain JSON values")


def _key(key: Any, where: str) -> str:
    if not isinstance(key, str):
        raise NotPlain(f"{where} has the key {key!r}: keys must be strings")
    if not key or key.startswith("$") or "\0" in key:
        raise NotPlain(f"{where} has the key {key!r}: keys are not empty and begin without '$'")
    return str(key)


def without_times(value: Any) -> Any:
    """Return a value read from the database as JSON has it: times become ISO 8601 text."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_times(item) for item in value]
    return value
