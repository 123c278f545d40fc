"""How long a running campaign may still take, from what it has done while it was watched."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from db.states import State
from discovery.campaign.config import CampaignConfig

WINDOW_SECONDS = 300.0
"""The rate is that of so long."""
SHORT = 45.0
"""What is called less than a minute."""
FIRST_SECONDS = 15.0
"""A rate over less says nothing."""
THROUGH = (State.SCREENED, State.SELECTED, State.VERIFYING, State.VERIFIED, State.REJECTED,
           State.FAILED)  # fmt: skip
"""States of candidates that the search is done with."""


@dataclass(frozen=True)
class Remaining:
    """What is left of a campaign.

    Attributes:
        seconds: Until it is over; None: cannot be told yet.
        at_least: Whether more comes that nothing is known of, for instance the first DFT.
        stops: Whether the time limit ends the run before.
    """

    seconds: float | None
    at_least: bool = False
    stops: bool = False

    def __str__(self) -> str:
        if self.seconds is None:
            return "time left: not known yet"
        if self.stops:
            return f"stops in {in_words(self.seconds)}"
        short = self.seconds < SHORT and not self.at_least
        what = "" if short else "at least " if self.at_least else "about "
        return f"{what}{in_words(self.seconds)} left"


class Estimate:
    """Estimates the time that is left.

    The search is left with the candidates that are still to be proposed, at as many a round as
    before, and those on their way to the screens, at the rate of the last minutes. DFT is left with
    what is estimated for the calculations in flight, and with as many more as the campaign wants,
    at the mean of its own so far. Both go on at the same time.

    Args:
        config: The campaign.
        max_candidates: Overrides the campaign's own limit.
        max_minutes: Overrides the campaign's own limit.
    """

    def __init__(
        self,
        config: CampaignConfig,
        *,
        max_candidates: int | None = None,
        max_minutes: float | None = None,
    ) -> None:
        self._config = config
        self._most = max_candidates or config.budget.max_candidates
        minutes = max_minutes or config.budget.max_minutes
        self._limit = None if minutes is None else 60 * minutes
        self._began: float | None = None  # of the loop, which its limit counts from
        self._seen: deque[tuple[float, int]] = deque()

    def remaining(self, summary: Mapping[str, Any], tick_round: int) -> Remaining:
        """Estimate from the campaign as it is now.

        Args:
            summary: As from `discovery.reports.status.status`.
            tick_round: The round last proposed, from 1.
        """
        now = time.monotonic()
        self._began = now if self._began is None else self._began
        through = sum(summary["counts"].get(str(state), 0) for state in THROUGH)
        self._seen.append((now, through))
        while now - self._seen[0][0] > WINDOW_SECONDS:
            self._seen.popleft()
        search = self._search(summary["candidates"], through, tick_round)
        dft, known = self._dft(summary["dft"])
        seconds = None if search is None else max(search, dft)
        limit = None if self._limit is None else max(self._began + self._limit - now, 0.0)
        if limit is not None and (seconds is None or limit < seconds):
            return Remaining(limit, stops=True)
        return Remaining(seconds, at_least=not known)

    def _search(self, proposed: int, through: int, tick_round: int) -> float | None:
        if not tick_round:
            return None
        rounds = self._config.budget.rounds
        expected = max(proposed, round(proposed / tick_round * rounds))
        if self._most is not None:
            expected = max(min(expected, self._most), proposed)
        left = expected - through
        if left <= 0:
            return 0.0
        (since, before), now = self._seen[0], time.monotonic()
        if now - since < FIRST_SECONDS or through <= before:
            return None
        return left * (now - since) / (through - before)

    def _dft(self, dft: Mapping[str, Any]) -> tuple[float, bool]:
        """Return the seconds of DFT that are left, and whether all of them are known."""
        settings, hours = self._config.verify, dft["core_hours"]
        if settings.backend == "none":
            return 0.0, True
        ended = dft["completed"] + dft["failed"]
        more = min(
            settings.max_completed - dft["completed"] - dft["running"],
            settings.max_submitted - dft["submitted"],
        )
        seconds = 3600 * hours["in_flight"] / settings.launchers
        if more <= 0:
            return seconds, True
        if not ended:
            return seconds, False
        return seconds + more * 3600 * hours["spent"] / ended / settings.launchers, True


def in_words(seconds: float) -> str:
    """Write a duration as coarsely as an estimate deserves."""
    if seconds < SHORT:
        return "less than a minute"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 10 else f"{hours:.0f} h"
