"""What a log line is about: campaign, candidate, calculation, worker.

Whoever starts on something says so once, and every line written until it is done carries the ids,
also those of libraries:

    with log_context(campaign="quickstart", stage="relax"):
        log.warning("the potential is slow")  # {"campaign": "quickstart", "stage": "relax", ...}

How lines are written is the business of the process (`discovery.logs`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

_process: dict[str, str] = {}
_ids: ContextVar[Mapping[str, str]] = ContextVar("discovery_log_ids", default=MappingProxyType({}))


@contextmanager
def log_context(**ids: object) -> Iterator[None]:
    """Add ids to every log line of this thread while the block runs.

    Args:
        ids: Name to id; None leaves an id as it is.
    """
    known = {name: str(value) for name, value in ids.items() if value is not None}
    token = _ids.set({**_ids.get(), **known})
    try:
        yield
    finally:
        _ids.reset(token)


def identify_process(**ids: str) -> None:
    """Add ids to every log line of this process from now on, for instance the worker's name."""
    _process.update(ids)


def current_ids() -> dict[str, str]:
    """Return the ids of what this thread works on now."""
    return {**_process, **_ids.get()}
