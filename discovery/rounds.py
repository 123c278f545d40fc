"""Which rounds of a campaign are through the screens: a choice among them is a matter of record."""

from __future__ import annotations

from collections import defaultdict

from db import generations, queries
from db.documents import Candidate
from db.states import State

BEFORE_SCREENED = (
    State.PROPOSED,
    State.EVALUATED,
    State.PRESCREENED,
    State.RELAXING,
    State.RELAXED,
)


def screened_candidates(campaign: str, *, placed: bool = False) -> set[str]:
    """Return the candidates of all rounds up to the first that is not yet through the screens.

    Args:
        campaign: Name of the campaign.
        placed: Whether a screened candidate still waits until its distance to the hull is known.

    Returns:
        Ids; which of them were screened in which order makes no difference.
    """
    waiting = {
        candidate.id
        for candidate in Candidate.objects(
            campaign=campaign, state__in=[str(state) for state in BEFORE_SCREENED]
        ).only("id")
    }
    if placed:  # read after the states: who was screened meanwhile is in one of the two
        waiting |= set(queries.lacking(campaign, State.SCREENED, "hull"))
    rounds: dict[int, set[str]] = defaultdict(set)
    for generation in generations.load(campaign):
        rounds[generation.info["round"]].update(generation.candidate_ids)
    through: set[str] = set()
    for _, ids in sorted(rounds.items()):
        if ids & waiting:
            break
        through |= ids
    return through
