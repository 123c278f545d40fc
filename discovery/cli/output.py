"""How commands speak: one JSON document on stdout, everything else on stderr."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


class UsageError(ValueError):
    """The command was called in a way that cannot work."""

    exit_code = 2


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


def log_to_file(path: Path) -> None:
    """Send logs and warnings of this process to a file, so that the live view stays whole."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    logging.basicConfig(
        filename=path, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.captureWarnings(True)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Send the logs of this process to stderr."""
    logging.basicConfig(
        stream=sys.stderr, level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
