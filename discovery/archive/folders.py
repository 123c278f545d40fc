"""Folders of this machine, which no archive names."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any


def without_folders(value: Any) -> Any:
    """Leave of every path its last part: a model is known by its version, wherever it lies.

    Args:
        value: Plain JSON values.

    Returns:
        A copy; absolute paths stand for their last part, as does every name of a generator.

    >>> without_folders({"generator": "runs/mine", "unit": "eV/atom", "at": "/a/b"})
    {'generator': 'mine', 'unit': 'eV/atom', 'at': 'b'}
    """
    if isinstance(value, dict):
        return {key: _field(value, key) for key in value}
    if isinstance(value, list | tuple):
        return [without_folders(item) for item in value]
    if isinstance(value, str) and value.startswith(("/", "~/", "./", "../")):
        return last_part(value)
    return value


def _field(document: dict[str, Any], key: str) -> Any:
    item = document[key]
    if isinstance(item, str) and (
        key == "generator" or (key == "name" and document.get("model") == "generator")
    ):
        return last_part(item)
    cleaned = without_folders(item)
    if key == "generator" and isinstance(item, dict) and isinstance(item.get("name"), str):
        cleaned["name"] = last_part(item["name"])
    return cleaned


def last_part(name: str) -> str:
    """Return the last part of a name that may be a path."""
    return PurePath(name).name or name
