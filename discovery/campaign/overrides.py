"""``--set KEY=VALUE``: single keys of a campaign, in place of what its file says.

The changed campaign passes the same schema as a file, and what was set is written into the
campaign's record, so that a run that continues it can be told what to repeat.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from discovery.campaign.config import CampaignConfig, ConfigError, from_record
from model.yaml_files import UnreadableYAML, read_yaml_value

KEY = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")


def parse_overrides(texts: Sequence[str]) -> dict[str, Any]:
    """Read what a command line sets.

    Args:
        texts: Each ``KEY=VALUE``: a dotted key of the campaign file (a number picks an entry of a
            list) and a value in YAML, for instance ``verify.preset=fast``,
            ``propose.proposers.0.batch=32``, ``hull.reference=null`` or
            ``screen.models=[megnet, alignn]``.

    Returns:
        Dotted key to plain value, in the given order.

    Raises:
        ConfigError: One is not of this form, or two contradict each other.
    """
    overrides: dict[str, Any] = {}
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not KEY.fullmatch(key):
            raise ConfigError(
                f"--set {text!r}: write KEY=VALUE with a key of the campaign file, for instance "
                "--set verify.preset=fast"
            )
        try:
            parsed = read_yaml_value(value)
        except UnreadableYAML as error:
            raise ConfigError(
                f"--set {key}: {value!r:.60} is no YAML value ({error!s:.120})"
            ) from error
        for other in overrides:
            if other == key or other.startswith(f"{key}.") or key.startswith(f"{other}."):
                raise ConfigError(f"--set names {other} and {key}: give one of them")
        overrides[key] = parsed
    return overrides


def apply_overrides(config: CampaignConfig, overrides: Mapping[str, Any]) -> CampaignConfig:
    """Return the campaign with some keys changed, checked as a file is.

    Args:
        config: The campaign as its file says.
        overrides: As from `parse_overrides`.

    Raises:
        ConfigError: A key does not exist, or a value is refused.
    """
    if not overrides:
        return config
    record = config.record()
    for key, value in overrides.items():
        _put(record, key, value)
    return from_record(record, source=f"{config.name} with {as_options(overrides)}")


def as_options(overrides: Mapping[str, Any]) -> str:
    """Write overrides as a person types them."""
    words = (f"{key}={_typed(value)}" for key, value in overrides.items())
    return " ".join(f"--set {word!r}" if " " in word else f"--set {word}" for word in words)


def _typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _put(record: dict[str, Any], key: str, value: Any) -> None:
    """Write a value under a dotted key; keys that do not exist are left to the schema to refuse."""
    *path, last = key.split(".")
    place: Any = record
    for depth, part in enumerate(path):
        if isinstance(place, dict):
            place = place.setdefault(part, {})
        else:
            place = _entry(place, part, key, path[:depth])
    if isinstance(place, dict):
        place[last] = value
    else:
        _entry(place, last, key, path)
        place[int(last)] = value


def _entry(place: Any, part: str, key: str, path: Sequence[str]) -> Any:
    """Return the entry of a list that part of a key names."""
    above = ".".join(path)
    if not isinstance(place, list):
        raise ConfigError(f"--set {key}: {above} is {place!r:.60} and has no keys")
    if not part.isdigit() or int(part) >= len(place):
        raise ConfigError(
            f"--set {key}: {above} is a list of {len(place)}, so {part!r} must be a number from 0 "
            f"to {len(place) - 1}"
        )
    return place[int(part)]
