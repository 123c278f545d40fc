"""How commands speak: one JSON document on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


class UsageError(ValueError):
    """The command was called in a way that cannot work."""

    exit_code = 2


def no_password(address: str | None) -> str | None:
    """Refuse a database address with a password on the command line.

    Every user of the machine sees the command lines of all processes.

    Raises:
        UsageError: The address has one.
    """
    credentials, at, _ = (address or "").partition("://")[2].rpartition("@")
    if at and ":" in credentials:
        raise UsageError(
            "--db with a password is visible to everybody on this machine: put the address into "
            "the variable MONGODB_URI"
        )
    return address


def print_json(document: Any) -> None:
    """Print one JSON document and nothing else on stdout.

    Args:
        document: Plain values; times become ISO 8601 strings.
    """
    json.dump(document, sys.stdout, indent=2, default=_plain, allow_nan=False)
    sys.stdout.write("\n")


def _plain(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} has no JSON form: {value!r:.80}")


def print_progress(line: str) -> None:
    """Print one line about a running command on stderr."""
    print(line, file=sys.stderr, flush=True)


def console_for_tables() -> Console:
    """Return a console on stdout that is wide enough for tables where it is no terminal."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 180)
