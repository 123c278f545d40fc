"""The lead of a campaign: one loop has it, renews it, and writes with it how it ends."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import asdict, dataclass

from pymongo.errors import PyMongoError

from db import campaigns
from db.retry import LAST_WORDS_SECONDS, is_away, patience

log = logging.getLogger(__name__)

LEADER_SECONDS = 60


@dataclass
class LoopFigures:
    """What the loop counts between two renewals of its lead.

    Attributes:
        ticks: Number of ticks.
        tick_seconds: Time of them together (s).
        leases_taken_back: Leases that expired, or whose workers died.
    """

    ticks: int = 0
    tick_seconds: float = 0.0
    leases_taken_back: int = 0

    def add_tick(self, seconds: float) -> None:
        """Count one tick."""
        self.ticks += 1
        self.tick_seconds += seconds


class Lead:
    """The lead that one loop has, or has not.

    Args:
        campaign: Name of the campaign.
        owner: Name of the loop (`db.owners`).

    Attributes:
        token: Every write with an older one is refused; 0 before the lead is taken.
        figures: What the loop counted since they were written last.
    """

    def __init__(self, campaign: str, owner: str) -> None:
        self.token = 0
        self.figures = LoopFigures()
        self._campaign = campaign
        self._owner = owner
        self._renewed = 0.0

    def take(self, seconds: float = LEADER_SECONDS) -> int:
        """Become the one who leads.

        Raises:
            AlreadyLed: Another process leads the campaign (`db.campaigns`).
        """
        self.token = campaigns.lead(self._campaign, self._owner, seconds)
        self._renewed = time.monotonic()
        return self.token

    def keep(self) -> None:
        """Renew the lead where that is due, and write the figures.

        Raises:
            LostLead: Another loop leads since (`db.campaigns`).
        """
        if time.monotonic() - self._renewed < LEADER_SECONDS / 6:
            return
        self.renew()
        self._write_figures()

    def renew(self) -> None:
        """Make sure that this loop leads, for as long as a lead lasts from now on.

        Raises:
            LostLead: Another loop leads since (`db.campaigns`).
        """
        campaigns.renew_lead(self._campaign, self._owner, self.token, LEADER_SECONDS)
        self._renewed = time.monotonic()

    def doubt(self) -> None:
        """Renew it at the next opportunity: whoever took the lead meanwhile keeps it."""
        self._renewed = -math.inf

    def end(self, state: str, reason: str) -> None:
        """Write down how the campaign stands from now on, and why."""
        self._write_figures()
        campaigns.set_state(self._campaign, state, token=self.token, stop_reason=reason)

    def end_by_hand(self) -> None:
        """Say in the records that a person ended this loop, where they can be written at once."""
        try:
            with patience(LAST_WORDS_SECONDS):
                self.end("stopped", "interrupted")
        except PyMongoError as error:
            if not is_away(error):
                raise
            self.token = 0  # it ends by itself
            log.warning("the database is away: that this loop was interrupted is not recorded")

    def end_by(self, error: Exception) -> None:
        """Say in the records that an error ended this loop, where they can be written."""
        if isinstance(error, campaigns.LostLead):
            return
        if isinstance(error, PyMongoError) and is_away(error):
            self.token = 0  # it ends by itself
            return
        try:
            self.end("stopped", f"error: {type(error).__name__}")
        except (PyMongoError, campaigns.LostLead):  # the error itself is what matters
            log.warning("that %s ended the loop is not recorded", type(error).__name__)

    def resign(self) -> None:
        """Give the lead up; while the database is away it ends by itself."""
        if not self.token:
            return
        try:
            with patience(LAST_WORDS_SECONDS):
                campaigns.resign(self._campaign, self._owner, self.token)
        except PyMongoError as error:
            if not is_away(error):
                raise
            log.warning("the database is away: the lead ends within %d s", LEADER_SECONDS)

    def _write_figures(self) -> None:
        """Add what was counted since last time to the campaign's record, for its metrics."""
        seen, self.figures = self.figures, LoopFigures()
        campaigns.add_figures(self._campaign, token=self.token, **asdict(seen))
