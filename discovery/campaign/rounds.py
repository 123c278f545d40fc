"""Which rounds of a campaign are through the screens: a choice among them is a matter of record."""

from __future__ import annotations

from db import generations, queries
from db.states import State

BEFORE_SCREENED = (
    State.PROPOSED,
    State.EVALUATED,
    State.PRESCREENED,
    State.RELAXING,
    State.RELAXED,
)
UNPLACED = "hull.level"
"""The field that a screened candidate lacks until its distance to the hull is known, or refused."""


def first_open(campaign: str, *, placed: bool = False) -> int | None:
    """Say where the first round begins that is not yet through the screens.

    Rounds are proposed one after the other, so that every candidate of an earlier round has a
    smaller number. One that a later round proposed again belongs to the round that brought it.

    Args:
        campaign: Name of the campaign.
        placed: Whether a screened candidate still waits until its distance to the hull is known.

    Returns:
        Number (``seq``) of the first candidate of that round; None where every round is through.
        Which of the earlier candidates were screened in which order makes no difference.
    """
    # Read after the states: who was screened meanwhile is in one of the two.
    places = [queries.oldest(campaign, BEFORE_SCREENED)]
    if placed:
        places.append(queries.oldest(campaign, (State.SCREENED,), lacks=UNPLACED))
    waiting = min((one for one in places if one is not None), key=lambda one: one.seq, default=None)
    if waiting is None:
        return None
    round_index = _round_of(campaign, waiting)
    own = (waiting.episode, waiting.generation)
    brought = {own} | {
        (one.episode, one.generation) for one in generations.load(campaign, round_index=round_index)
    }
    firsts = [queries.first_of_generation(campaign, *place) for place in brought]
    return min([waiting.seq, *(first for first in firsts if first is not None)])


def _round_of(campaign: str, place: queries.Place) -> int:
    """Return the round that brought a candidate; the one being asked where none is recorded."""
    from agents.propose.episodes import rounds_asked

    recorded = generations.find(campaign, place.episode, place.generation)
    return rounds_asked(campaign) if recorded is None else int(recorded.info["round"])
