"""The core-hours of a campaign: what was measured, what is in flight, what is left."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from db.connection import current_database
from db.states import CalculationState, State

Pipeline = list[dict[str, Any]]
OPEN = [str(CalculationState.SUBMITTING), str(CalculationState.SUBMITTED)]


@dataclass(frozen=True)
class CoreTime:
    """Core-seconds of DFT that a campaign pays for.

    Attributes:
        spent: Measured, over all attempts, the failed and the lost ones included.
        in_flight: Estimated, of the calculations that are queued or running and of the candidates
            that are chosen but not queued yet.
        limit: What may be spent; infinite without a limit.
    """

    spent: float
    in_flight: float
    limit: float = math.inf

    @property
    def remaining(self) -> float:
        """What the next choice may cost, core-seconds; not below zero."""
        return max(0.0, self.limit - self.spent - self.in_flight)

    def record(self) -> dict[str, float | None]:
        """Return core-hours as plain JSON values; ``limit`` is None without one."""
        return {
            "spent": self.spent / 3600,
            "in_flight": self.in_flight / 3600,
            "limit": None if math.isinf(self.limit) else self.limit / 3600,
        }

    def describe(self) -> str:
        """Put it in words, for instance ``0.120 of 0.500 core-hours``."""
        used = f"{(self.spent + self.in_flight) / 3600:.3f}"
        of = "" if math.isinf(self.limit) else f" of {self.limit / 3600:.3f}"
        return f"{used}{of} core-hours"


def core_time(campaign: str, max_core_hours: float | None) -> CoreTime:
    """Add up what a campaign spent on DFT, from the records alone.

    A calculation is paid for by the campaign that had it queued, whoever shares it later.

    Args:
        campaign: Its name.
        max_core_hours: The campaign's limit.
    """
    attempts: Pipeline = [
        {"$match": {"attempts.campaign": campaign}},
        {"$unwind": "$attempts"},
        {"$match": {"attempts.campaign": campaign}},
        {"$group": {"_id": None, "seconds": {"$sum": "$attempts.core_seconds"}}},
    ]
    queued: Pipeline = [
        {"$match": {"info.campaign": campaign, "state": {"$in": OPEN}}},
        {"$group": {"_id": None, "seconds": {"$sum": "$estimated_core_seconds"}}},
    ]
    chosen: Pipeline = [
        {"$match": {"campaign": campaign, "state": str(State.SELECTED)}},
        {"$group": {"_id": None, "seconds": {"$sum": "$selection.core_seconds"}}},
    ]
    limit = math.inf if max_core_hours is None else 3600 * max_core_hours
    in_flight = _sum("calculations", queued) + _sum("candidates", chosen)
    return CoreTime(spent=_sum("calculations", attempts), in_flight=in_flight, limit=limit)


def _sum(collection: str, pipeline: Pipeline) -> float:
    groups = current_database()[collection].aggregate(pipeline)
    return math.fsum(group["seconds"] for group in groups)
