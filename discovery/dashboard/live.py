"""What changes while a campaign runs, as one snapshot that all browsers share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock

from db import campaigns, candidates, queries
from db.events import server_time
from db.states import CampaignState
from discovery.dashboard.shared import Shared
from discovery.dashboard.workforce import Queue, Worker, workforce
from discovery.reports.status import core_hours, dft_counts

#: Rates are over this time at least.
LEAST_SPAN = timedelta(seconds=20)
MOST_SPAN = timedelta(minutes=10)


@dataclass(frozen=True)
class Snapshot:
    """A campaign at one moment, from the records alone.

    Attributes:
        at: When, by the database's clock.
        state: Of the campaign.
        stop_reason: Why it ended; None while it runs.
        reached: How many candidates ever were in each state.
        counts: How many are in each state now.
        per_minute: How many a minute came into each state; empty until two moments are known.
        rejections: Rejected candidates by reason, the most frequent first.
        dft: What DFT was chosen for and what came back, see `discovery.reports.status`.
        core_hours: Of DFT: spent, in flight, limit.
        queues: What waits.
        workers: Who works.
        lead: Seconds that the lead of the loop lasts; None without a loop.
    """

    at: datetime
    state: str
    stop_reason: str | None
    reached: dict[str, int]
    counts: dict[str, int]
    per_minute: dict[str, float]
    rejections: dict[str, int]
    dft: dict[str, int]
    core_hours: dict[str, float | None]
    queues: list[Queue]
    workers: list[Worker]
    lead: float | None

    @property
    def running(self) -> bool:
        """Whether the campaign runs by its record."""
        return self.state == str(CampaignState.RUNNING)


class Watch:
    """Reads snapshots and remembers earlier ones, for rates."""

    def __init__(self) -> None:
        self._earlier: dict[str, list[tuple[datetime, dict[str, int]]]] = {}
        self._lock = Lock()
        self._shared: Shared[Snapshot] = Shared(self._read)

    def snapshot(self, campaign: str) -> Snapshot:
        """Return a campaign as it is, or was a short while ago.

        Raises:
            UnknownCampaign: There is none of this name.
        """
        return self._shared.get(campaign)

    def _read(self, campaign: str) -> Snapshot:
        record = campaigns.load(campaign)
        now = server_time()
        reached = queries.reached(campaign)
        queues, workers = workforce(campaign, now)
        leader = record.leader
        return Snapshot(
            at=now,
            state=record.state,
            stop_reason=record.stop_reason,
            reached=reached,
            counts=candidates.counts(campaign),
            per_minute=self._rates(campaign, now, reached),
            rejections=candidates.rejections(campaign),
            dft=dft_counts(campaign),
            core_hours=core_hours(record),
            queues=queues,
            workers=workers,
            lead=(leader["expires_at"] - now).total_seconds() if leader else None,
        )

    def _rates(self, campaign: str, now: datetime, reached: dict[str, int]) -> dict[str, float]:
        """Compare with the oldest moment of the last minutes."""
        with self._lock:
            known = self._earlier.get(campaign, [])
            kept = [one for one in known if now - one[0] <= MOST_SPAN]
            self._earlier[campaign] = [*kept, (now, reached)]
        if not kept or now - kept[0][0] < LEAST_SPAN:
            return {}
        at, before = kept[0]
        minutes = (now - at).total_seconds() / 60
        return {state: (number - before[state]) / minutes for state, number in reached.items()}
