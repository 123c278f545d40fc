"""How this process writes its logs: lines for people, or JSON lines for machines.

Every line carries the ids of `agents.log_context`, and none carries a credential: addresses lose
user and password, and the values of the variables that hold secrets are replaced, whoever wrote
them there.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from agents.log_context import current_ids
from db.paths import private_folder

FORMAT_VARIABLE = "DISCOVERY_LOG_FORMAT"
FORMATS = ("text", "json")
HANDLER = "discovery"
TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
#: Variables whose values are secrets, or addresses that may hold some.
SECRET_VARIABLES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD)$")
SHORTEST_SECRET = 8
HIDDEN = "***"
_CREDENTIALS = re.compile(r"(?<=://)[^\s/\"'<>]*@")


class UnknownLogFormat(ValueError):
    """The logs were asked for in a format that there is not."""

    exit_code = 2


def without_secrets(text: str, secrets: Iterable[str] = ()) -> str:
    """Replace credentials of addresses, and secrets that are known, by ``***``.

    Args:
        text: A line of a log.
        secrets: Other texts that must not appear.

    >>> without_secrets("no answer from mongodb://ann:se@cret@db.example/x")
    'no answer from mongodb://***@db.example/x'
    """
    if "://" in text:
        text = _CREDENTIALS.sub(f"{HIDDEN}@", text)
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text


def known_secrets() -> list[str]:
    """Return the values of this process's variables that are secrets, the longest first."""
    found = {
        value
        for name, value in os.environ.items()
        if SECRET_VARIABLES.search(name) and len(value) >= SHORTEST_SECRET
    }
    return sorted(found, key=len, reverse=True)


class TextFormatter(logging.Formatter):
    """A line for people, the ids behind it."""

    def __init__(self) -> None:
        super().__init__(TEXT)
        self._secrets = known_secrets()

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        ids = " ".join(f"{name}={value}" for name, value in current_ids().items())
        line = super().format(record)
        return without_secrets(f"{line} [{ids}]" if ids else line, self._secrets)


class JsonLines(JsonFormatter):
    """One JSON object on one line: time, level, logger, message, the ids, exception."""

    def __init__(self) -> None:
        names = {"levelname": "level", "name": "logger", "exc_info": "exception"}
        super().__init__(
            "%(levelname)s %(name)s %(message)s %(process)d", rename_fields=names, timestamp="time"
        )
        secrets = known_secrets()
        self._escaped = [json.dumps(one)[1:-1] for one in secrets] + secrets

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        """Add the ids to the fields of one record."""
        super().add_fields(log_data, record, message_dict)
        log_data.update(current_ids())

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        return without_secrets(super().format(record), self._escaped)


def log_format() -> str:
    """Return the format that ``$DISCOVERY_LOG_FORMAT`` asks for; text by default.

    Raises:
        UnknownLogFormat: It is neither text nor json.
    """
    chosen = os.environ.get(FORMAT_VARIABLE) or FORMATS[0]
    if chosen not in FORMATS:
        raise UnknownLogFormat(f"{FORMAT_VARIABLE}={chosen}: use {' or '.join(FORMATS)}")
    return chosen


def configure_logs(path: Path | None = None, *, level: int = logging.INFO) -> None:
    """Send the logs and warnings of this process to a file or to stderr.

    Args:
        path: The file, made readable for its owner alone; None: stderr.
        level: Least level that is written.

    Raises:
        UnknownLogFormat: See `log_format`.
    """
    formatter = JsonLines() if log_format() == "json" else TextFormatter()
    handler: logging.Handler
    if path is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        private_folder(path.parent)
        path.touch(mode=0o600)
        handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(formatter)
    handler.set_name(HANDLER)
    root = logging.getLogger()
    for other in [one for one in root.handlers if one.get_name() == HANDLER]:
        root.removeHandler(other)
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(True)
