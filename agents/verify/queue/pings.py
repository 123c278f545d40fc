"""FireWorks' reports of a running launch, which one that fails does not end.

FireWorks reports from a thread that the first error ends, so that a launch would be taken for lost
minutes after the database was away for half of one, while its calculation runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from fireworks.core import rocket
from pymongo.errors import PyMongoError

log = logging.getLogger(__name__)


def patient(ping: Callable[..., None]) -> Callable[..., None]:
    """Return a function that reports, and only says so where it cannot."""

    @wraps(ping)
    def report(*arguments: Any) -> None:
        try:
            ping(*arguments)
        except PyMongoError as error:
            log.warning("a running launch could not be reported (%s)", type(error).__name__)

    return report


def install() -> None:
    """Let every Rocket of this process go on where a report fails; there is no argument for it."""
    if not hasattr(rocket.do_ping, "__wrapped__"):
        rocket.do_ping = patient(rocket.do_ping)
