"""Repeating what the driver does not repeat by itself when the server restarts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import ParamSpec, TypeVar

import pymongo
from pymongo.errors import AutoReconnect, ExecutionTimeout, PyMongoError, WTimeoutError

PATIENCE_SECONDS = 30.0
PAUSE_SECONDS = 0.1
LAST_WORDS_SECONDS = 5.0
"""How long a process that shall end may wait for the database; others find what it cannot say."""

_AWAY = (AutoReconnect, ExecutionTimeout, WTimeoutError)

P = ParamSpec("P")
T = TypeVar("T")
_until: ContextVar[float] = ContextVar("_until", default=math.inf)


def is_away(error: PyMongoError) -> bool:
    """Say whether a database did not answer, and may yet; one that refuses will go on refusing."""
    return isinstance(error, _AWAY) or error.timeout


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Let all operations of a block together wait no longer than this for a database that is away.

    Args:
        seconds: Instead of the half minute that each operation has.
    """
    token = _until.set(min(_until.get(), time.monotonic() + seconds))
    try:
        with pymongo.timeout(seconds):
            yield
    finally:
        _until.reset(token)


def idempotent(function: Callable[P, T]) -> Callable[P, T]:
    """Repeat a function that may be repeated, while the connection is lost, for half a minute.

    The driver itself repeats writes of one document and insertions, exactly once in effect, and the
    beginning of a query. It does not repeat updates of many documents, plain commands, and what
    follows the first batch of a query's answer. Only for functions that do no harm when they run
    twice.
    """

    @wraps(function)
    def repeated(*args: P.args, **kwargs: P.kwargs) -> T:
        deadline = min(time.monotonic() + PATIENCE_SECONDS, _until.get())
        while True:
            try:
                return function(*args, **kwargs)
            except AutoReconnect:
                if time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE_SECONDS)

    return repeated
