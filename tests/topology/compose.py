"""docker-compose.yml as Docker reads it: variables replaced, then parsed by its specification."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from compose_spec import PyOptions

FILE = Path(__file__).parents[2] / "docker-compose.yml"
_VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?::([-?])([^{}]*))?\})")


class Unset(LookupError):
    """A variable that has to be set is not."""


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """Replace ``${NAME}``, ``${NAME:-default}``, ``${NAME:?message}`` and ``$$``.

    Raises:
        Unset: A variable with a message is not set.
    """

    def replace(found: re.Match[str]) -> str:
        dollar, name, kind, rest = found.groups()
        if dollar:
            return "$"
        value = variables.get(name, "")
        if value:
            return value
        if kind == "?":
            raise Unset(rest)
        return rest or ""

    return _VARIABLE.sub(replace, text)


def services(variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the services, merged and with their variables replaced.

    Raises:
        ValueError: It is no Compose file, or names a network or volume that is not there.
    """
    text = interpolated(FILE.read_text(), variables)
    parsed = PyOptions(apply_merge=True).from_yaml(text)
    parsed.validate()
    document: dict[str, Any] = yaml.safe_load(text)
    found: dict[str, Any] = document["services"]
    for name, service in found.items():  # what the specification leaves to Docker
        wanted = set(service.get("depends_on", ())) - set(found)
        sources = {volume.partition(":")[0] for volume in service.get("volumes", ())}
        wanted |= {one for one in sources if one[0] not in "./"} - set(document["volumes"])
        if wanted:
            raise ValueError(f"{name} needs {', '.join(sorted(wanted))}, which is not there")
    return found
