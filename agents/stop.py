"""A worker is asked to stop: it gives back what it holds, within seconds.

A signal handler calls `request`. Inside `stoppable` that raises `StopRequested` where the program
happens to be, as Ctrl-C does; `shielded` puts it off over a few lines that must not be torn. What
was leased is then given back unused (`agents.stage.work`), and the next worker may have it at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class StopRequested(BaseException):
    """This process was asked to stop; no error, so nothing that handles errors may catch it."""


class _Stop:
    """What is known in this process; signal handlers run in its main thread only."""

    requested = False
    stoppable = 0
    shielded = 0


def request(*_: object) -> None:
    """Ask this process to stop; may be a signal handler.

    Raises:
        StopRequested: At once, inside `stoppable` and outside of `shielded`.
    """
    _Stop.requested = True
    _raise_if_due()


def requested() -> bool:
    """Say whether this process was asked to stop."""
    return _Stop.requested


def forget() -> None:
    """Start anew, as a process that was just made."""
    _Stop.requested = False


@contextmanager
def stoppable() -> Iterator[None]:
    """Let a request end the block.

    Raises:
        StopRequested: It came before, or comes while the block runs.
    """
    _Stop.stoppable += 1
    try:
        _raise_if_due()
        yield
    finally:
        _Stop.stoppable -= 1


@contextmanager
def shielded() -> Iterator[None]:
    """Put a request off until the block has ended.

    Raises:
        StopRequested: It came while the block ran.
    """
    _Stop.shielded += 1
    try:
        yield
    finally:
        _Stop.shielded -= 1
    _raise_if_due()


def _raise_if_due() -> None:
    if _Stop.requested and _Stop.stoppable and not _Stop.shielded:
        raise StopRequested
