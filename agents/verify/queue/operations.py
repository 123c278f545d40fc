"""What a person does with calculations: look at them, run a failed one again, take one out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from agents.verify.backend import load_backend
from agents.verify.queue.attempts import BY_PARENT, retry
from agents.verify.queue.launchpad import take_out
from agents.verify.queue.outputs import missing
from agents.verify.settings import VerifySettings
from agents.verify.submission import Submission
from agents.verify.tasks import own_fields
from db import calculations, campaigns, candidates
from db.candidates import StaleLease
from db.documents import Calculation, Candidate
from db.states import CalculationState, State

if TYPE_CHECKING:
    from fireworks import LaunchPad

SHORT = 12
"""Digits of a hash that a person sees."""


class CannotDo(ValueError):
    """What was asked for is impossible for this calculation; the text says what is possible."""

    exit_code = 2


@dataclass(frozen=True)
class Row:
    """One calculation in a list.

    Attributes:
        hash: Its first digits.
        formula: Reduced formula.
        kind: ``compound``, ``reference`` or ``phase``.
        task: What it computes.
        state: State of the record.
        queue_state: State of its Firework.
        category: Its queue.
        attempts: Processes that were run for it.
        core_hours: Measured, over all attempts.
        estimated_core_hours: Estimated for one.
        campaign: Who pays.
        candidates: Candidates that it verifies.
        error: Why it failed.
        level: Level of theory.
        created_at: When it was recorded.
    """

    hash: str
    formula: str
    kind: str
    task: str
    state: str
    queue_state: str | None
    category: str | None
    attempts: int
    core_hours: float
    estimated_core_hours: float | None
    campaign: str | None
    candidates: tuple[str, ...]
    error: str | None
    level: str
    created_at: datetime

    def record(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "candidates": list(self.candidates)}


def rows(
    pad: LaunchPad,
    *,
    campaign: str | None = None,
    state: str | None = None,
    task: str | None = None,
) -> list[Row]:
    """List calculations, the oldest first.

    Args:
        pad: The queue.
        campaign: Only those that verify a candidate of this campaign or that it pays for.
        state: Only in this state.
        task: Only this task.
    """
    found = calculations.find(state=state)
    if campaign is not None:
        own = {str(name) for name in Candidate.objects(campaign=campaign).scalar("id")}
        found = [
            one
            for one in found
            if one.info.get("campaign") == campaign or own & set(one.candidates)
        ]
    chosen = [one for one in found if task is None or one.task == task]
    numbers = [one.fw_id for one in chosen if one.fw_id is not None]
    fields = {"fw_id": 1, "state": 1, "spec._category": 1}
    queued = {one["fw_id"]: one for one in pad.fireworks.find({"fw_id": {"$in": numbers}}, fields)}
    return [_row(one, queued.get(one.fw_id)) for one in chosen]


def _row(calculation: Calculation, firework: Mapping[str, Any] | None) -> Row:
    seconds = calculation.estimated_core_seconds
    return Row(
        hash=calculation.hash[:SHORT],
        formula=calculation.formula,
        kind=calculation.kind,
        task=calculation.task,
        state=calculation.state,
        queue_state=None if firework is None else firework["state"],
        category=None if firework is None else firework["spec"].get("_category"),
        attempts=len(calculation.attempts),
        core_hours=sum(one.get("core_seconds", 0.0) for one in calculation.attempts) / 3600,
        estimated_core_hours=None if seconds is None else seconds / 3600,
        campaign=calculation.info.get("campaign"),
        candidates=tuple(calculation.candidates),
        error=calculation.error,
        level=calculation.level,
        created_at=calculation.created_at,
    )


def find(name: str) -> Calculation:
    """Find a calculation by the first digits of its hash.

    Raises:
        CannotDo: None or several begin so.
    """
    found = (
        list(Calculation.objects(hash__startswith=name).order_by("hash").limit(5)) if name else []
    )
    if not found:
        raise CannotDo(f"no calculation begins with {name!r}: see `discovery dft list`")
    if len(found) > 1:
        several = ", ".join(f"{one.hash[:SHORT]} ({one.formula} {one.task})" for one in found)
        raise CannotDo(f"several calculations begin with {name!r}: {several}")
    return found[0]


def show(pad: LaunchPad, calculation: Calculation) -> dict[str, Any]:
    """Put together everything about one calculation.

    Returns:
        Plain values: the record, ``queue`` (Firework, state, queue, launches), ``children``, and
        ``missing_outputs``, the raw files that are not where the record says, or not as they were.
    """
    fields = {"fw_id": 1, "state": 1, "spec._category": 1, "launches": 1}
    firework = pad.fireworks.find_one({"fw_id": calculation.fw_id}, fields) or {}
    launches = pad.launches.find({"fw_id": calculation.fw_id}).sort("launch_id", 1)
    return {
        **_row(calculation, firework or None).record(),
        "hash": calculation.hash,
        "parent": calculation.parent,
        "options": dict(calculation.options),
        "code": f"{calculation.code} {calculation.version}",
        "settings": dict(calculation.settings),
        "structure": dict(calculation.structure),
        "result": calculation.result,
        "failures": calculation.info.get("failures", []),
        "attempt_records": [dict(one) for one in calculation.attempts],
        "outputs": calculation.outputs,
        "missing_outputs": missing(calculation.outputs) if calculation.outputs else [],
        "history": [dict(one) for one in calculation.history],
        "children": [str(one.hash) for one in Calculation.objects(parent=calculation.hash)],
        "queue": {
            "fw_id": calculation.fw_id,
            "launches": [
                {"state": one["state"], "launcher": one["fworker"]["name"], "host": one["host"]}
                for one in launches
            ],
        },
        "completed_at": calculation.completed_at,
    }


def rerun(
    pad: LaunchPad,
    calculation: Calculation,
    *,
    by: str,
    changes: dict[str, Any] | None = None,
    timeout_seconds: float | None = None,
) -> list[str]:
    """Queue a failed calculation again, and what failed only because it did.

    Candidates that failed by it are ``verifying`` again.

    Args:
        pad: The queue.
        calculation: A failed one. Where its parent failed, that one is run again.
        by: The person, for the history.
        changes: Settings that replace those of the level of theory, and options of the code; the
            result carries them.
        timeout_seconds: Wall-clock limit of each attempt; default that of the campaign.

    Returns:
        Hashes of the calculations that were queued, the first one first.

    Raises:
        CannotDo: It did not fail, or the code has no such settings.
    """
    root = _origin(calculation)
    if root.state != CalculationState.FAILED:
        raise CannotDo(
            f"{root.hash[:SHORT]} is {root.state}: only failed calculations are run again"
        )
    _check(root, changes or {})
    settings = _settings_of(root)
    limit = timeout_seconds or settings.timeout_seconds
    note = f"run again with {changes}" if changes else "run again"
    if not retry(root, limit, changes=changes, by=by, note=note):
        raise CannotDo(f"{root.hash[:SHORT]} was moved by another process: look again")
    chosen = [str(root.hash)]
    for child in _descendants(root):
        waits = child.state == CalculationState.FAILED and _kind(child) == BY_PARENT
        if waits and retry(child, limit, by=by, note=f"its parent is {note}"):
            chosen.append(str(child.hash))
    backend = load_backend(root.code)
    level = backend.read_settings(root.settings)
    Submission(pad, backend, level, settings, root.info.get("campaign")).reconcile()
    for hash in chosen:
        _restore(calculations.load(hash), by, note)
    return chosen


def defuse(pad: LaunchPad, calculation: Calculation, *, by: str, why: str = "") -> str:
    """Take a queued or running calculation out; whatever starts from it fails with it.

    Args:
        pad: The queue.
        calculation: One that is not finished.
        by: The person, for the history.
        why: The reason, for the history.

    Returns:
        What was done, in words.

    Raises:
        CannotDo: It is finished, or was moved by another process at this moment.
    """
    if calculation.state not in (CalculationState.SUBMITTING, CalculationState.SUBMITTED):
        raise CannotDo(
            f"{calculation.hash[:SHORT]} is {calculation.state}: only queued or running "
            "calculations can be taken out"
        )
    reason = f"taken out by {by}" + (f": {why}" if why else "")
    source = CalculationState(calculation.state)
    out = calculation.fw_id is None or take_out(pad, calculation.fw_id)
    if not out:
        running = pad.fireworks.find_one_and_update(
            {"fw_id": calculation.fw_id, "state": "RUNNING"},
            {"$set": {"spec.cancelled": reason}},
        )
        if running is None:
            raise CannotDo(
                f"{calculation.hash[:SHORT]} has just ended, and the campaign collects its result; "
                "or a launcher takes it at this moment: look again"
            )
        note = f"asked to stop; {reason}"
        calculations.advance(calculation.hash, source, source, by=by, note=note)
        return "it runs: its launcher stops it within seconds, and the campaign collects that"
    failure = {"kind": "defused", "message": reason, "log_tail": ""}
    done = calculations.advance(
        calculation.hash,
        source,
        CalculationState.FAILED,
        by=by,
        note=reason,
        error=f"defused: {reason}",
        info={**calculation.info, "failure": failure},
    )
    if not done:
        raise CannotDo(f"{calculation.hash[:SHORT]} was moved by another process: look again")
    return "it is out of the queue"


def _kind(calculation: Calculation) -> str:
    return str((calculation.info.get("failure") or {}).get("kind", ""))


def _origin(calculation: Calculation) -> Calculation:
    """Return the calculation whose own failure made this one fail."""
    while calculation.parent is not None and _kind(calculation) == BY_PARENT:
        parent = calculations.load(calculation.parent)
        if parent.state != CalculationState.FAILED:
            break
        calculation = parent
    return calculation


def _descendants(calculation: Calculation) -> list[Calculation]:
    """Return what starts from a calculation, children before grandchildren."""
    found = list(Calculation.objects(parent=calculation.hash).order_by("created_at"))
    return found + [one for child in found for one in _descendants(child)]


def _check(calculation: Calculation, changes: dict[str, Any]) -> None:
    if changes and calculation.code != "gpaw":
        raise CannotDo(
            f"settings of {calculation.code} cannot be changed here: its own error handlers do so"
        )
    try:
        load_backend(calculation.code).read_settings(
            {**calculation.settings, **own_fields(changes)}
        )
    except ValueError as error:  # pydantic's
        raise CannotDo(f"these settings are impossible: {error}") from error


def _settings_of(calculation: Calculation) -> VerifySettings:
    """Return the settings of the campaign that pays; the defaults where there is none."""
    name = calculation.info.get("campaign")
    if name is None:
        return VerifySettings()
    return VerifySettings.model_validate(campaigns.load(name).config["verify"])


def _restore(calculation: Calculation, by: str, note: str) -> None:
    """Let the candidates that failed by a calculation wait for it again."""
    failed = Candidate.objects(id__in=list(calculation.candidates), state=str(State.FAILED))
    for candidate in failed:
        if not (candidate.verification or {}).get("calculations"):
            continue
        try:
            candidates.transition(
                candidate.id,
                source=State.FAILED,
                to=State.VERIFYING,
                token=candidate.token,
                agent=by,
                reason=f"{calculation.task} {calculation.hash[:SHORT]} {note}",
            )
        except StaleLease:  # another process did it
            continue
