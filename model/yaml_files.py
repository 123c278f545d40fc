"""YAML files that a person writes, or somebody else wrote: read safely and within limits.

A file of a few lines can name a value of billions of parts (aliases of aliases), refer to itself,
or nest so deep that whatever walks through it ends in an error of its own. None of that is needed
for settings, so it is refused before anything looks at the values.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

LARGEST_BYTES = 1 << 20
MOST_VALUES = 20_000
"""With every alias counted as often as it is used."""
DEEPEST = 40
LARGEST_INTEGER = 2**63

FAULTS = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError)
"""What PyYAML raises: explicit tags with the wrong text (`!!bool x`) are errors of its own code."""


class UnreadableYAML(ValueError):
    """The text is no YAML mapping of plain values; says why, without naming the file."""


def read_yaml_file(path: Path) -> dict[str, Any]:
    """Read a file of settings.

    Raises:
        UnreadableYAML: See `read_yaml`; or it cannot be read as text.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise UnreadableYAML(f"cannot be read: {error.strerror}") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableYAML(f"cannot be read: {error}") from error
    return read_yaml(text)


def read_yaml(text: str) -> dict[str, Any]:
    """Read settings: YAML with a mapping at the top.

    Raises:
        UnreadableYAML: See `read_yaml_value`; or it is no mapping.
    """
    content = read_yaml_value(text)
    if not isinstance(content, dict):
        raise UnreadableYAML(f"expected a mapping of keys, got {content!r:.80}")
    return content


def read_yaml_value(text: str) -> Any:
    """Read one value.

    Returns:
        Plain: mappings, lists, texts, finite numbers, truth values and null.

    Raises:
        UnreadableYAML: It is no YAML, is larger than settings are, or holds values of another kind
            (times, binary data, numbers that are not finite).
    """
    if len(text) > LARGEST_BYTES:
        raise UnreadableYAML(f"has more than {LARGEST_BYTES >> 20} MiB")
    try:
        content = yaml.safe_load(text)
    except FAULTS as error:
        where = " ".join(str(error).split())
        raise UnreadableYAML(f"not valid YAML ({where:.300})") from error
    _require_plain(content)
    return content


def _require_plain(content: Any) -> None:
    """Refuse what settings do not hold; ends after `MOST_VALUES` values, whatever the content."""
    waiting: list[tuple[Any, int]] = [(content, 0)]
    seen = 0
    while waiting:
        value, depth = waiting.pop()
        seen += 1
        if seen > MOST_VALUES:
            raise UnreadableYAML(f"has more than {MOST_VALUES} values, aliases counted in full")
        if depth > DEEPEST:
            raise UnreadableYAML(f"nests more than {DEEPEST} deep")
        if isinstance(value, dict):
            strange = [key for key in value if not isinstance(key, str)]
            if strange:
                raise UnreadableYAML(f"keys are texts, and {strange[0]!r:.60} is none: quote it")
            waiting += [(one, depth + 1) for one in value.values()]
        elif isinstance(value, list):
            waiting += [(one, depth + 1) for one in value]
        elif isinstance(value, float) and not math.isfinite(value):
            raise UnreadableYAML(f"{value} is no finite number: leave the key out or use null")
        elif isinstance(value, int) and abs(value) >= LARGEST_INTEGER:
            raise UnreadableYAML("a whole number has more than 64 bits")
        elif value is not None and not isinstance(value, str | int | float | bool):
            raise UnreadableYAML(f"{value!r:.60} is a {type(value).__name__}: quote it as text")
