"""The Celery tasks: each is a hint that a queue has work; leases say who does what."""

from __future__ import annotations

import logging
import time

from agents.log_context import log_context
from db.campaigns import NAME
from discovery.workers.celery_app import app

log = logging.getLogger(__name__)

STAGES = {
    "evaluate": ("evaluate", "prescreen"),
    "relax": ("relax", "hull", "stability"),
    "screen": ("screen",),
}

TURN_SECONDS = 20.0
"""How long one message keeps a worker; then the other queues have a chance."""


class BadMessage(ValueError):
    """A message whose arguments no loop of this product has written."""


def campaign_of(campaign: object) -> str:
    """Check the one argument that a message carries; whoever reaches the broker can write it.

    Raises:
        BadMessage: It is not the name of a campaign.
    """
    if not isinstance(campaign, str) or not NAME.fullmatch(campaign):
        raise BadMessage(f"{campaign!r:.80} is not the name of a campaign: the message is dropped")
    return campaign


def work_queue(queue: str, campaign: str) -> int:
    """Lease and work through the stages of one queue.

    Args:
        queue: ``evaluate``, ``relax`` or ``screen``.
        campaign: Name of the campaign.

    Returns:
        Number of outcomes committed.

    Raises:
        BadMessage: The campaign cannot be one.
    """
    from agents.stage import work
    from discovery.workers.runtime import runtime

    with log_context(campaign=campaign_of(campaign), queue=queue):
        here = runtime(campaign)
        deadline = time.monotonic() + TURN_SECONDS
        names = [name for name in STAGES[queue] if here.has(name)]
        committed = sum(
            work(here.stage(name), campaign, here.owner, deadline=deadline) for name in names
        )
        log.info("%s of %s: %d outcomes", queue, campaign, committed)
    return committed


@app.task(name="discovery.evaluate")
def evaluate(campaign: str) -> int:
    """Evaluate decoded crystals and apply the cheap rules."""
    return work_queue("evaluate", campaign)


@app.task(name="discovery.relax")
def relax(campaign: str) -> int:
    """Relax the crystals that were dispatched for it."""
    return work_queue("relax", campaign)


@app.task(name="discovery.screen")
def screen(campaign: str) -> int:
    """Screen relaxed crystals."""
    return work_queue("screen", campaign)


@app.task(name="discovery.learn")
def learn(campaign: str) -> str:
    """Fine-tune the property head if enough was learned since last time."""
    from agents.learn.event import learn as learning_event
    from discovery.workers.runtime import runtime

    with log_context(campaign=campaign_of(campaign), queue="learn"):
        here = runtime(campaign)
        report = learning_event(campaign, here.generator, here.config.learn, here.config.seed)
        log.info("learning event of %s: %s (%s)", campaign, report.decision, report.reason)
    return report.decision


TASKS = {"evaluate": evaluate, "relax": relax, "screen": screen, "learn": learn}
