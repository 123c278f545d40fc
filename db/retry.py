"""Repeating what the driver does not repeat by itself when the server restarts."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from pymongo.errors import AutoReconnect, ExecutionTimeout, PyMongoError, WTimeoutError

PATIENCE_SECONDS = 30.0
PAUSE_SECONDS = 0.1

_AWAY = (AutoReconnect, ExecutionTimeout, WTimeoutError)

P = ParamSpec("P")
T = TypeVar("T")


def is_away(error: PyMongoError) -> bool:
    """Say whether a database did not answer, and may yet; one that refuses will go on refusing."""
    return isinstance(error, _AWAY) or error.timeout


def idempotent(function: Callable[P, T]) -> Callable[P, T]:
    """Repeat a function that may be repeated, while the connection is lost, for half a minute.

    The driver itself repeats writes of one document and insertions, exactly once in effect, and the
    beginning of a query. It does not repeat updates of many documents, plain commands, and what
    follows the first batch of a query's answer. Only for functions that do no harm when they run
    twice.
    """

    @wraps(function)
    def repeated(*args: P.args, **kwargs: P.kwargs) -> T:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return function(*args, **kwargs)
            except AutoReconnect:
                if time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE_SECONDS)

    return repeated
