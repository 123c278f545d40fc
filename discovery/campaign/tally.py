"""Candidates per state, as often as counting them is worth."""

from __future__ import annotations

from agents.rationed import Rationed
from db import queries
from db.states import State


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
