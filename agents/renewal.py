"""Renewing what a process holds while it works: leases of candidates, the claim of a learner."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pymongo.errors import PyMongoError

from db.retry import LAST_WORDS_SECONDS, patience

AGAIN_SECONDS = 3.0
"""Between attempts while the database is away."""

log = logging.getLogger(__name__)


@contextmanager
def renewing(what: str, renew: Callable[[], None], seconds: float) -> Iterator[None]:
    """Renew something in a thread while the block runs.

    Args:
        what: In words, for the log.
        renew: Renews it for ``seconds``; a database that is away is only noted, for it may be back
            before the end.
        seconds: How long it lasts unless renewed; it is renewed three times as often.
    """
    stop = threading.Event()

    def run() -> None:
        pause = seconds / 3
        while not stop.wait(pause):
            pause = seconds / 3
            try:
                with patience(LAST_WORDS_SECONDS):  # whoever ends the block waits for this
                    renew()
            except PyMongoError as error:
                log.warning("%s could not be renewed: %s", what, error)
                pause = min(AGAIN_SECONDS, pause)

    here = contextvars.copy_context()  # threads begin without the ids of the log
    thread = threading.Thread(target=here.run, args=(run,), name=f"{what}-renewal", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
