"""The life of one stage of a candidate, shared by every agent that works through a queue.

A worker hears that a queue has work and calls `work`. It leases up to a batch of candidates in the
state that the stage takes, hands them to `Stage.process`, and commits every outcome as soon as it
is yielded, by compare-and-set on (state, fencing token). While the stage computes, a thread renews
the leases; a candidate whose lease was lost meanwhile is refused at the commit and left to its new
owner. Execution is therefore at least once, and the effect exactly once.

A stage that raises gives up the leases of what it had not finished. These candidates are then
leased one by one, so that the one that raises again and again ends as ``failed`` alone.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pymongo.errors import PyMongoError

from agents.log_context import log_context
from agents.renewal import renewing
from agents.stop import StopRequested, shielded
from db import candidates as candidate_records
from db.candidates import StaleLease
from db.documents import Candidate
from db.retry import LAST_WORDS_SECONDS, patience
from db.states import State

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What became of one candidate in one stage.

    Attributes:
        candidate_id: Which candidate.
        to: The state it moves to; REJECTED and FAILED need a reason.
        updates: Candidate fields (dotted names allowed) to plain JSON values.
        predictions: Prediction records to append.
        reason: Snake-case name of a rule for REJECTED, the error's text for FAILED.
        detail: The numbers behind the reason.
        inputs: Hashes and versions for the history.
    """

    candidate_id: str
    to: State
    updates: dict[str, Any] = field(default_factory=dict)
    predictions: list[dict[str, Any]] = field(default_factory=list)
    reason: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PutOff:
    """A candidate that cannot be judged yet, because another one has to be judged first.

    It is given back at the end of the worker's turn, as it was leased.

    Attributes:
        candidate_id: Which candidate.
    """

    candidate_id: str


class MissingOutcome(RuntimeError):
    """A stage ended without an outcome for every candidate that it was given."""


class Stage(ABC):
    """Moves candidates out of one state.

    Attributes:
        name: Name of the stage, as in the worker's log.
        agent: Name written into the candidates' history.
        takes: The state of the candidates it works on.
        batch: Most candidates leased at once.
        lease_seconds: How long a lease lasts without renewal.
        lacks: Result field that is still missing in the candidates it works on; for a stage that
            leaves them in their state.
        has: Result field that the candidates it works on must have.
    """

    name: str
    agent: str
    takes: State
    batch: int
    lease_seconds: int
    lacks: str | None = None
    has: str | None = None

    @abstractmethod
    def process(self, candidates: Sequence[Candidate]) -> Iterator[Outcome | PutOff]:
        """Compute the outcome of each candidate.

        Called by `work` with leased candidates. It may read the database but never writes: `work`
        commits what it yields. It yields an outcome as soon as one is known, one for each
        candidate; a crystal that cannot be computed is an outcome too (REJECTED or FAILED), never
        an exception. Where the outcome must not depend on which worker was faster, a candidate may
        be put off until others have theirs.
        """


class _Leases:
    """The leases of a batch whose candidates have no outcome yet."""

    def __init__(self, leased: dict[str, int], owner: str, seconds: int) -> None:
        self._leased = dict(leased)
        self._owner = owner
        self._seconds = seconds
        self._lock = threading.Lock()

    def done(self, candidate_id: str) -> None:
        with self._lock:
            self._leased.pop(candidate_id, None)

    def renew(self) -> None:
        with self._lock:
            leased = dict(self._leased)
        if not leased:
            return
        held = candidate_records.renew(leased, self._owner, self._seconds)
        for lost in set(leased) - held:
            with log_context(candidate=lost):
                log.warning("lost the lease of %s; its result will be refused", lost)
            self.done(lost)


def work(stage: Stage, campaign: str, owner: str, *, deadline: float = math.inf) -> int:
    """Work through what a stage can lease now.

    Args:
        stage: The stage.
        campaign: Name of the campaign.
        owner: Name of this worker, unique among all processes.
        deadline: No batch is leased after this reading of `time.monotonic`.

    Returns:
        Number of outcomes committed.

    Raises:
        MissingOutcome: The stage ended without an outcome for every candidate.
        Exception: Whatever the stage or a commit raised; the leases have been given up.
        StopRequested: This process shall end; the leases have been given back unused.
    """
    committed = 0
    held: dict[str, int] = {}  # leased, without an outcome
    put_off: dict[str, int] = {}  # kept until the end, so that they are not leased again at once
    try:
        while time.monotonic() < deadline:
            with shielded():  # a lease that nobody remembers would last until it expires
                batch = candidate_records.lease(
                    campaign,
                    stage.takes,
                    owner,
                    stage.batch,
                    stage.lease_seconds,
                    lacks=stage.lacks,
                    has=stage.has,
                )
                held = {candidate.id: candidate.token for candidate in batch}
            if not batch:
                break
            committed += _work_through(stage, batch, owner, put_off, held)
    except StopRequested:
        log.info("%s was asked to stop: %d candidates are given back", stage.name, len(held))
        _give_back(stage, held)
        raise
    finally:
        _give_back(stage, put_off)
    return committed


def _work_through(
    stage: Stage,
    batch: Sequence[Candidate],
    owner: str,
    put_off: dict[str, int],
    unfinished: dict[str, int],
) -> int:
    """Commit the outcomes of one leased batch; those put off are added to the others.

    Args:
        stage: The stage.
        batch: The candidates.
        owner: Name of this worker.
        put_off: Takes those that are put off, with their tokens.
        unfinished: All of them with their tokens; who has an outcome is taken out.
    """
    committed = 0
    tokens = dict(unfinished)
    leases = _Leases(tokens, owner, stage.lease_seconds)
    try:
        with (
            log_context(stage=stage.name),
            renewing("leases", leases.renew, stage.lease_seconds),
        ):
            for outcome in stage.process(batch):
                name = outcome.candidate_id
                leases.done(name)
                if isinstance(outcome, PutOff):
                    put_off[name] = tokens[name]
                else:
                    with log_context(candidate=name):
                        committed += _commit(stage, outcome, tokens[name])
                unfinished.pop(name, None)
        if unfinished:
            raise MissingOutcome(f"{stage.name} said nothing of {', '.join(unfinished)}")
    except Exception as error:
        _give_up(stage, unfinished, error)
        raise
    return committed


def _give_back(stage: Stage, put_off: dict[str, int]) -> None:
    try:
        with patience(LAST_WORDS_SECONDS):
            for name, token in put_off.items():
                candidate_records.release(name, token)
    except PyMongoError as failure:  # the leases end by themselves
        log.error("%s could not give its leases back: %s", stage.name, failure)


def _give_up(stage: Stage, unfinished: dict[str, int], error: Exception) -> None:
    words = f"{type(error).__name__}: {error}"
    log.error("%s gives up %d candidates: %s", stage.name, len(unfinished), words)
    try:
        with patience(LAST_WORDS_SECONDS):
            candidate_records.abandon(unfinished, words, agent=stage.agent)
    except PyMongoError as failure:  # the leases end by themselves; the first error matters more
        log.error("%s could not give up its leases: %s", stage.name, failure)


def _commit(stage: Stage, outcome: Outcome, token: int) -> int:
    try:
        candidate_records.transition(
            outcome.candidate_id,
            source=stage.takes,
            to=outcome.to,
            token=token,
            agent=stage.agent,
            updates=outcome.updates,
            predictions=outcome.predictions,
            reason=outcome.reason,
            detail=outcome.detail,
            inputs=outcome.inputs,
        )
    except StaleLease as error:
        log.warning("%s: %s", stage.name, error)
        return 0
    log.info("%s: %s%s", stage.name, outcome.to, f" ({outcome.reason})" if outcome.reason else "")
    return 1
