"""Hints: messages that a queue has work; they may be lost, late or doubled."""

from __future__ import annotations

import logging
import time

from db.states import State

log = logging.getLogger(__name__)

HINT_SECONDS = 3.0
"""How often the workers hear that a queue has work."""
STATES_OF_QUEUE = {
    "evaluate": (State.PROPOSED, State.EVALUATED),
    "relax": (State.RELAXING,),
    "screen": (State.RELAXED,),
}
HULL_QUEUE = "relax"
"""Competing phases are relaxed too, so the workers that relax candidates do it."""
FOLLOW_UP_QUEUE = "relax"
"""The stability of hits is asked of the potential that the same workers hold."""


class Hints:
    """Sends hints for one campaign, each queue's every few seconds.

    Args:
        campaign: Name of the campaign.
        parallel: Most workers woken by one hint.
    """

    def __init__(self, campaign: str, parallel: int) -> None:
        self._campaign = campaign
        self._parallel = parallel
        self._sent: dict[str, float] = {}

    def send(self, queue: str, workers: int = 1) -> bool:
        """Tell workers that a queue has work, unless they heard it a moment ago.

        Args:
            queue: Name of the queue.
            workers: So many would find work.

        Returns:
            False where the broker is away; it is told again later.
        """
        from kombu.exceptions import KombuError

        from discovery.workers.celery_app import unheard
        from discovery.workers.tasks import TASKS

        now = time.monotonic()
        if now - self._sent.get(queue, -HINT_SECONDS) < HINT_SECONDS:
            return True
        self._sent[queue] = now
        try:
            # Where nobody listens, messages would pile up: three a second fill a broker's memory.
            # They do not expire: a worker whose clock is ahead would drop every one of them.
            for _ in range(min(workers, self._parallel - unheard(queue))):
                TASKS[queue].apply_async(args=[self._campaign])
        except (KombuError, OSError) as error:
            log.warning("the broker does not take messages: %s", error)
            return False
        return True
