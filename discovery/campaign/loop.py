"""The long-running loop of a campaign.

One tick = propose → dispatch relaxations → hint the workers → select for DFT → submit and collect →
follow hits up → learn. Each step reads the database and is idempotent; nothing that matters lives
in this process, so the loop may be killed at any line and started again.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pymongo.errors import PyMongoError

from agents.follow_up.agent import FollowUpAgent, FollowUpProgress
from agents.rationed import Rationed
from agents.verify.agent import Progress, VerifyAgent
from db import campaigns, candidates, generations, queries
from db.connection import Session
from db.retry import is_away
from db.states import State
from discovery.campaign.dispatch import dispatch_relaxations
from discovery.campaign.hints import FOLLOW_UP_QUEUE, HULL_QUEUE, STATES_OF_QUEUE, Hints
from discovery.campaign.lead import Lead
from discovery.campaign.rounds import BEFORE_SCREENED, UNPLACED, first_open
from discovery.campaign.tally import Tally
from discovery.workers.runtime import Runtime

if TYPE_CHECKING:
    from agents.propose.optuna_studies import StudyRecorder

log = logging.getLogger(__name__)

NEEDS_MORE_MINUTES = "dft_needs_more_minutes"
"""Why a campaign stops of whose candidates none is left that a run so short could verify."""
DATABASE_PATIENCE_SECONDS = 600.0
"""How long the loop waits for a database that is away, beyond the half minute of each operation."""
DATABASE_PAUSE_SECONDS = 1.0


@dataclass
class Tick:
    """What one tick saw, for the live view and for the decision to stop.

    Attributes:
        counts: Candidates per state.
        round: Number of the round last proposed, from 1; 0 before the first.
        waiting_for: What the campaign waits for, in words.
        finished: Reason why the campaign is over, else None.
        out_of_time: All that is left are calculations longer than this run allows.
    """

    counts: dict[str, int] = field(default_factory=dict)
    round: int = 0
    waiting_for: list[str] = field(default_factory=list)
    finished: str | None = None
    out_of_time: bool = False


class CampaignLoop:
    """Leads one campaign.

    Args:
        runtime: The campaign's parts in this process.
        session: The database connection.
        max_candidates: Overrides the campaign's own limit.
        parallel: Most workers woken by one hint.
        announce: Called with what a person should know, in words.
        longest_dft: Wall seconds that one DFT calculation may be estimated to take.
    """

    def __init__(
        self,
        runtime: Runtime,
        session: Session,
        *,
        max_candidates: int | None = None,
        parallel: int = 32,
        longest_dft: float = math.inf,
        announce: Callable[[str], None] = log.warning,
    ) -> None:
        self._announce = announce
        self.runtime = runtime
        self.session = session
        self.config = runtime.config
        self.name = runtime.campaign
        self.max_candidates = max_candidates or self.config.budget.max_candidates
        self.verification = VerifyAgent(
            self.name,
            session,
            self.config.verify,
            self.config.targets,
            self.config.seed,
            runtime.resolved["dft"],
            longest=longest_dft,
        )
        self.follow_up = FollowUpAgent(
            self.verification, runtime.follow_up, self.config.targets, self.config.seed
        )
        self.hull = runtime.resolved.get("hull", {}).get("used", False)
        self.lead = Lead(self.name, runtime.owner)
        self._hints = Hints(self.name, parallel)
        self._studies: StudyRecorder | None = None
        self._tally = Tally(self.name)
        self._labels = Rationed(self._count_labels)
        self._was_full = False  # what is recorded stays

    def run(
        self,
        *,
        max_seconds: float | None = None,
        interval: float = 0.5,
        on_tick: Callable[[Tick], None] = lambda tick: None,
    ) -> str:
        """Tick until the campaign is over.

        Args:
            max_seconds: Wall time after which the campaign stops; the next run continues it.
            interval: Pause between ticks (s).
            on_tick: Called after every tick, for the view.

        Returns:
            The campaign's state: ``complete``, or ``stopped`` when the time was over.
        """
        deadline = math.inf if max_seconds is None else time.monotonic() + max_seconds
        while True:
            tick = self._patiently(on_tick)
            if tick.finished:
                self.lead.end("complete", tick.finished)
                return "complete"
            if tick.out_of_time:
                self.lead.end("stopped", NEEDS_MORE_MINUTES)
                return "stopped"
            if time.monotonic() > deadline:
                self.lead.end("stopped", "max_minutes")
                return "stopped"
            time.sleep(interval)

    def _patiently(self, on_tick: Callable[[Tick], None]) -> Tick:
        """Tick once; while the database is away, say so and try again.

        Raises:
            PyMongoError: It stayed away for too long, or refuses; the next run continues.
        """
        deadline = time.monotonic() + DATABASE_PATIENCE_SECONDS
        while True:
            began = time.monotonic()
            try:
                tick = self.tick()
                self.lead.figures.add_tick(time.monotonic() - began)
                on_tick(tick)
            except PyMongoError as error:
                if not is_away(error) or time.monotonic() > deadline:
                    raise
                left = deadline - time.monotonic()
                self._announce(
                    f"the database is away ({type(error).__name__}): waiting for it, at most "
                    f"{left:.0f} s more"
                )
                self.lead.doubt()
                time.sleep(DATABASE_PAUSE_SECONDS)
            else:
                return tick

    @contextmanager
    def leadership(self, on_lead: Callable[[int], None] = lambda token: None) -> Iterator[None]:
        """Hold the campaign's lead while the block runs, and mark the campaign as running.

        Args:
            on_lead: Called with the lead's token before the campaign's configuration is stored.

        Raises:
            CampaignLed: Another process leads the campaign (`db.campaigns`).
        """
        token = self.lead.take()
        try:
            on_lead(token)
            campaigns.update(self.name, token=token, config=self.config.record())
            campaigns.set_state(self.name, "running", token=token)
            yield
        except KeyboardInterrupt:
            self.lead.end_by_hand()
            raise
        except Exception as error:
            self.lead.end_by(error)
            raise
        finally:
            self.lead.resign()

    def tick(self) -> Tick:
        """Do everything that can be done now, once."""
        self.lead.keep()
        self.lead.figures.leases_taken_back += candidates.reap(self.name)
        tick = Tick()
        enough = self._enough_hits()
        tick.round = self._propose(tick, enough)
        dispatch_relaxations(self.name, self.config.relax)
        tick.counts = self._tally.counts()
        unplaced = self._unplaced()
        self._hint_workers(tick, unplaced)
        proposing_done = enough or tick.round >= self.config.budget.rounds or self._full()
        if proposing_done:
            self._record_studies()
        screening_done = not any(tick.counts.get(state.value) for state in BEFORE_SCREENED)
        last = proposing_done and screening_done and not unplaced
        before = first_open(self.name, placed=self.hull)
        verification = self.verification.step(
            last=last, before=before, stop=enough, confirm=self.lead.renew
        )
        if verification.waiting_for:
            tick.waiting_for.append(verification.waiting_for)
        followed = self._follow_up(tick)
        everything = last and verification.done
        if everything and followed.done:  # a run that can do no more waits for no other head
            tick.out_of_time = verification.out_of_time or followed.postponed > 0
        learning_done = self._learn(tick, last=everything and not tick.out_of_time)
        if everything and followed.done and learning_done and not tick.out_of_time:
            tick.finished = self._reason(tick, enough, verification)
        return tick

    def _follow_up(self, tick: Tick) -> FollowUpProgress:
        """Ask the hits what remains to be asked, the potential's part through the workers."""
        followed = self.follow_up.step()
        if followed.waiting_for:
            tick.waiting_for.append(followed.waiting_for)
        if followed.potential:
            self._hint(tick, FOLLOW_UP_QUEUE, followed.potential)
        return followed

    def _propose(self, tick: Tick, enough_hits: bool) -> int:
        from agents.learn.event import live_head
        from agents.propose.episodes import ask_round, round_ready, rounds_asked

        done = rounds_asked(self.name)
        if enough_hits or done >= self.config.budget.rounds or self._full():
            return done
        if not round_ready(self.name, done):
            tick.waiting_for.append("energies of the last generation")
            return done
        self._record_studies()
        head, _ = live_head(self.name, self.runtime.generator)
        report = ask_round(
            self.name,
            self.config.seed,
            self.runtime.generator,
            head,
            self.config.propose,
            done,
            max_candidates=self.max_candidates,
            targets=self.config.targets,
            own_bases=self.runtime.own_bases,
            is_known=self.runtime.is_known,
            is_excluded=self.runtime.is_excluded,
        )
        log.info("round %d: %s", done + 1, report)
        return done + 1

    def _unplaced(self) -> int:
        """Count the screened candidates whose distance to the hull is still to come."""
        return queries.count_lacking(self.name, State.SCREENED, UNPLACED) if self.hull else 0

    def _record_studies(self) -> None:
        """Copy what Optuna's proposers were told into studies, for people to look at."""
        if not any(own.kind.startswith("optuna_") for own in self.config.propose.proposers):
            return
        from agents.propose.optuna_studies import StudyRecorder

        if self._studies is None:
            self._studies = StudyRecorder(
                self.name, self.runtime.generator, self.config.propose.fitness
            )
        self._studies.record()

    def _full(self) -> bool:
        """Say whether recorded generations used the budget up; others are asked again first."""
        if self.max_candidates is None:
            return False
        if not self._was_full and candidates.proposed_at_most(self.name) >= self.max_candidates:
            recorded = generations.load(self.name)
            distinct = {one for found in recorded for one in found.candidate_ids}
            self._was_full = len(distinct) >= self.max_candidates
        return self._was_full

    def _hint_workers(self, tick: Tick, unplaced: int) -> None:
        batches = {
            "evaluate": self.config.relax.evaluate_batch,
            "relax": self.config.relax.relax_batch,
            "screen": self.config.screen.batch,
        }
        for queue, states in STATES_OF_QUEUE.items():
            waiting = sum(tick.counts.get(state.value, 0) for state in states)
            workers = math.ceil(waiting / batches[queue])
            if waiting:
                tick.waiting_for.append(f"{queue}: {waiting}")
            if unplaced and queue == HULL_QUEUE:
                tick.waiting_for.append(f"hull: {unplaced}")
                workers += unplaced
            if workers:
                self._hint(tick, queue, workers)

    def _hint(self, tick: Tick, queue: str, workers: int = 1) -> None:
        if not self._hints.send(queue, workers):
            tick.waiting_for.append("the broker")

    def _count_labels(self) -> dict[str, int]:
        from agents.learn.labels import count_labels

        return count_labels(self.name)

    def _learn(self, tick: Tick, *, last: bool) -> bool:
        """Hint a learning event where one is due; say whether none is."""
        from agents.learn.event import due

        labels = self._labels.get(fresh=last)
        if not due(self.name, self.config.learn, last=last, labels=labels):
            return True
        tick.waiting_for.append("learning")
        self._hint(tick, "learn")
        return False

    def _enough_hits(self) -> bool:
        most = self.config.budget.max_hits
        return most is not None and self.verification.progress(last=False).hits >= most

    def _reason(self, tick: Tick, enough_hits: bool, verification: Progress) -> str:
        if enough_hits:
            return "max_hits"
        if verification.completed >= self.config.verify.max_completed > 0:
            return "dft_completed"
        if verification.out_of_core_hours:
            return "max_core_hours"
        return "rounds" if tick.round >= self.config.budget.rounds else "max_candidates"
