"""The states of a candidate and the transitions between them."""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise


class State(StrEnum):
    """Where a candidate stands; the funnel runs in this order."""

    PROPOSED = "proposed"
    EVALUATED = "evaluated"
    PRESCREENED = "prescreened"
    RELAXING = "relaxing"  # dispatched: relaxation workers lease it in this state
    RELAXED = "relaxed"
    SCREENED = "screened"
    SELECTED = "selected"
    VERIFYING = "verifying"
    VERIFIED = "verified"
    REJECTED = "rejected"
    FAILED = "failed"


FUNNEL: tuple[State, ...] = tuple(
    state for state in State if state not in (State.REJECTED, State.FAILED)
)
TERMINAL: frozenset[State] = frozenset({State.VERIFIED, State.REJECTED, State.FAILED})
ALLOWED: dict[State, frozenset[State]] = {
    **{
        source: frozenset({target, State.REJECTED, State.FAILED})
        for source, target in pairwise(FUNNEL)
    },
    **{state: frozenset() for state in TERMINAL},
}
# A worker may add its result to a screened candidate and leave it to the choice for DFT.
ALLOWED[State.SCREENED] |= {State.SCREENED}
# What follows a hit up adds to its record; whatever comes of that, it stays verified.
ALLOWED[State.VERIFIED] |= {State.VERIFIED}
LEASABLE: frozenset[State] = frozenset(state for state in State if ALLOWED[state])
KEPT: frozenset[State] = frozenset(
    state for state in LEASABLE if State.FAILED not in ALLOWED[state]
)
"""States that a worker's failure does not end; it gives the candidate up and leaves it there."""
# A person may have a failed calculation run again; the candidate that failed by it waits for it,
# but no worker leases it, which is why this comes last.
ALLOWED[State.FAILED] |= {State.VERIFYING}


class CalculationState(StrEnum):
    """Where a first-principles calculation stands."""

    SUBMITTING = "submitting"  # recorded, but perhaps not yet in the queue
    SUBMITTED = "submitted"
    COMPLETED = "completed"
    FAILED = "failed"


CALCULATION_ALLOWED: dict[CalculationState, frozenset[CalculationState]] = {
    CalculationState.SUBMITTING: frozenset({CalculationState.SUBMITTED, CalculationState.FAILED}),
    CalculationState.SUBMITTED: frozenset({CalculationState.COMPLETED, CalculationState.FAILED}),
    CalculationState.COMPLETED: frozenset(),
    CalculationState.FAILED: frozenset({CalculationState.SUBMITTING}),
}


class CampaignState(StrEnum):
    """Where a campaign stands."""

    RUNNING = "running"
    COMPLETE = "complete"
    STOPPED = "stopped"
    FAILED = "failed"
    RESTORING = "restoring"  # not there yet: `db.restoration` writes it
