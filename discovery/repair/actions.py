"""Doing what a person decided; each action is recorded as an event and deletes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from agents.verify.queue import operations
from agents.verify.queue.launchpad import take_out
from db import campaigns, candidates, events
from db.campaigns import AlreadyLed
from db.candidates import IllegalTransition, StaleLease
from db.owners import owner_name
from db.states import CampaignState
from discovery.repair.checks import examine, sound_model
from discovery.repair.finding import Finding, Kind

if TYPE_CHECKING:
    from fireworks import LaunchPad

ABANDONED = "abandoned"
"""Stop reason of a campaign whose loop was gone."""
MOMENT_SECONDS = 30.0


class NotFound(ValueError):
    """There is no such finding now, or nothing that a program can do about it."""

    exit_code = 2


class NotDone(RuntimeError):
    """Somebody else was faster: look again."""


def apply(name: str, pad: LaunchPad, wanted: str, *, by: str) -> str:
    """Do the action of one finding, if it is still there.

    Args:
        name: Of the campaign.
        pad: The queue of calculations.
        wanted: Id of the finding.
        by: Who decided, for the records.

    Returns:
        What was done, in words.

    Raises:
        NotFound: There is no such finding any more, or no action for it.
        NotDone: Somebody changed it at this moment.
    """
    found = {one.id: one for one in examine(name, pad)}
    if wanted not in found:
        raise NotFound(
            f"{name} has no finding {wanted!r} now: see `discovery repair {name}` for those it has"
        )
    finding = found[wanted]
    if not finding.applicable:
        raise NotFound(f"{wanted}: {finding.action}")
    done = _ACTIONS[finding.kind](name, pad, finding, by)
    events.record(
        name,
        "repair",
        agent=by,
        data={"finding": finding.id, "evidence": finding.evidence, "done": done},
    )
    return done


def _retry_candidate(name: str, pad: LaunchPad, finding: Finding, by: str) -> str:
    try:
        state = candidates.restore(finding.subject, by=by, why=f"tried again: {finding.evidence}")
    except (StaleLease, IllegalTransition) as error:
        raise NotDone(str(error)) from error
    return f"{finding.subject} is {state} again"


def _rerun_calculation(name: str, pad: LaunchPad, finding: Finding, by: str) -> str:
    calculation = operations.find(finding.subject)
    queued = operations.rerun(pad, calculation, by=by)
    return f"queued again: {', '.join(hash[: operations.SHORT] for hash in queued)}"


def _defuse_firework(name: str, pad: LaunchPad, finding: Finding, by: str) -> str:
    if not take_out(pad, int(finding.subject)):
        raise NotDone(f"Firework {finding.subject} was taken by a launcher, or has ended")
    return f"Firework {finding.subject} is DEFUSED"


def _stop_campaign(name: str, pad: LaunchPad, finding: Finding, by: str) -> str:
    owner = owner_name()
    try:
        token = campaigns.lead(name, owner, MOMENT_SECONDS)
    except AlreadyLed as error:
        raise NotDone(str(error)) from error
    try:
        campaigns.set_state(name, CampaignState.STOPPED, token=token, stop_reason=ABANDONED)
    finally:
        campaigns.resign(name, owner, token)
    return f"{name} is stopped; discovery run continues it"


def _live_model(name: str, pad: LaunchPad, finding: Finding, by: str) -> str:
    other = sound_model(name)
    if not campaigns.swap_live_model(name, finding.subject, other):
        raise NotDone(f"{finding.subject} is not the live model of {name} any more")
    return f"the live model is {other or 'the one that the generator ships'}"


_ACTIONS: dict[Kind, Callable[[str, LaunchPad, Finding, str], str]] = {
    Kind.RETRY_CANDIDATE: _retry_candidate,
    Kind.RERUN_CALCULATION: _rerun_calculation,
    Kind.DEFUSE_FIREWORK: _defuse_firework,
    Kind.STOP_CAMPAIGN: _stop_campaign,
    Kind.LIVE_MODEL: _live_model,
}
