"""Counts that grow with the campaign, taken as often as they are worth."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from db import queries
from db.states import State

SHARE = 0.05
"""Of the loop's time that counting again may take."""

T = TypeVar("T")


class Rationed(Generic[T]):
    """A value that is computed again once that takes at most a twentieth of the time since.

    Counting a million records takes half a second and the loop ticks twice a second; what is only
    shown, or only asks whether enough came together, may then be some seconds old. While counting
    takes milliseconds it is done at every tick.

    Args:
        compute: Computes the value.
    """

    def __init__(self, compute: Callable[[], T]) -> None:
        self._compute = compute
        self._value: T | None = None
        self._due = -math.inf

    def get(self, *, fresh: bool = False) -> T:
        """Return the value.

        Args:
            fresh: Compute it now, however long that takes.
        """
        if self._value is None or fresh or time.monotonic() >= self._due:
            started = time.monotonic()
            self._value = self._compute()
            ended = time.monotonic()
            self._due = ended + (ended - started) / SHARE
        return self._value


class Tally:
    """Candidates of a campaign per state.

    The states that work waits in are counted at every call, by the index alone. In the others most
    candidates end: they are rationed.

    Args:
        campaign: Name of the campaign.
    """

    def __init__(self, campaign: str) -> None:
        self._campaign = campaign
        self._many = {
            state: Rationed(lambda state=state: queries.count_state(campaign, state))  # type: ignore[misc]
            for state in (State.SCREENED, State.VERIFIED, State.REJECTED, State.FAILED)
        }

    def counts(self) -> dict[str, int]:
        """Count them; every state is there, in the funnel's order."""
        return {
            str(state): self._many[state].get()
            if state in self._many
            else queries.count_state(self._campaign, state)
            for state in State
        }
