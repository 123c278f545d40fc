"""The verification agent: chooses, submits and collects; all it knows is in the database."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from agents.rationed import Rationed
from agents.targets import Window
from agents.verify.backend import check_recorded, load_backend
from agents.verify.choice.acquisition import Choice, Entry, affordable, calls_allowed, choose
from agents.verify.choice.budget import CoreTime, core_time
from agents.verify.collection import Collected, collect
from agents.verify.identity import find_equal
from agents.verify.queue.attempts import may_retry
from agents.verify.queue.launchpad import launchpad
from agents.verify.queue.recovery import recover
from agents.verify.settings import VerifySettings
from agents.verify.submission import AGENT, OWN_FAILURES, Submission, crystal_of, describe
from agents.verify.workflow import estimate
from db import calculations, candidates, queries
from db.candidates import StaleLease
from db.connection import Session
from db.crystals import record_to_structure
from db.documents import Candidate
from db.states import CalculationState, State

log = logging.getLogger(__name__)

_POOL_FIELDS = (
    *("id", "elements", "predictions", "structure", "relaxation.structure"),
    "duplicates.training.compared",
)
CHOSEN = "campaign_1_selection.position_1_state_1_verification.hit_1"
IN_FLIGHT = (State.SELECTED, State.VERIFYING)


@dataclass(frozen=True)
class Progress:
    """Where the verification of a campaign stands.

    Attributes:
        submitted: Candidates chosen for DFT so far.
        completed: Those with a result.
        failed: Those without one.
        hits: Those inside every window.
        in_flight: Those not finished.
        pool: Screened candidates that wait.
        done: Nothing more will be submitted and nothing is in flight.
        waiting_for: What it waits for, in words; empty when done.
        out_of_core_hours: Candidates are left that only the budget of core-hours keeps from DFT.
        out_of_time: Candidates are left that only the wall time of this run keeps from DFT.
    """

    submitted: int
    completed: int
    failed: int
    hits: int
    in_flight: int
    pool: int
    done: bool
    waiting_for: str
    out_of_core_hours: bool = False
    out_of_time: bool = False


class VerifyAgent:
    """Verifies the candidates of one campaign.

    Args:
        campaign: Name of the campaign.
        session: The database connection.
        settings: The campaign's settings.
        windows: The campaign's targets.
        seed: The campaign's seed.
        resolved: What `agents.verify.backend.resolve_backend` decided at the campaign's start.
        longest: Wall seconds that one calculation may be estimated to take for now: nothing is
            chosen that this run could not finish.

    Raises:
        BackendUnavailable: The level of theory that was decided on cannot be computed here.
    """

    def __init__(
        self,
        campaign: str,
        session: Session,
        settings: VerifySettings,
        windows: Sequence[Window],
        seed: int,
        resolved: dict[str, Any],
        *,
        longest: float = math.inf,
    ) -> None:
        self.campaign = campaign
        self.settings = settings
        self.choosing = settings
        self.windows = tuple(windows)
        self.seed = seed
        self.enabled = resolved["name"] != "none" and settings.max_submitted > 0
        if self.enabled:
            self.backend = load_backend(resolved["name"])
            self.dft = check_recorded(self.backend, resolved)
            if not math.isinf(longest):
                self.choosing = settings.no_longer_than(longest * self.backend.cores)
            self.pad = launchpad(session)
            self.submission = Submission(self.pad, self.backend, self.dft, settings, campaign)
        self._estimates: dict[str, float] = {}  # a cache; estimates never change
        self._recovered = Rationed(self._recover)  # FireWorks looks at every launch there ever was
        self._told = Rationed(self.core_time)  # what decides something is added up anew

    def step(
        self,
        *,
        last: bool,
        before: int | None = None,
        stop: bool = False,
        confirm: Callable[[], None] = lambda: None,
    ) -> Progress:
        """Do everything that can be done now, once.

        Args:
            last: No more candidates will be screened.
            before: Only candidates proposed before this number may be chosen; None for all. With
                whole rounds only, the choice does not depend on which was screened first.
            stop: Choose nothing more, but finish what is chosen.
            confirm: See `select`.
        """
        if self.enabled:
            self.submission.reconcile()
            self.collect()
            if not stop:
                self.select(last=last, before=before, confirm=confirm)
            self.submit()
        return self.progress(last=last, before=before, stop=stop)

    def select(
        self,
        *,
        last: bool,
        before: int | None = None,
        confirm: Callable[[], None] = lambda: None,
    ) -> list[Choice]:
        """Choose screened candidates and mark them ``selected``.

        Args:
            last: No more candidates will be screened, so a small pool need not wait.
            before: Only candidates proposed before this number may be chosen; None for all.
            confirm: Called before anything is marked; raises where somebody else chooses since.

        Returns:
            What was chosen, without candidates that another process moved meanwhile.
        """
        counts = self._counts(before)
        allowed = calls_allowed(
            self.settings,
            submitted=counts["submitted"],
            completed=counts["completed"],
            in_flight=counts["in_flight"],
            pool=counts["pool"],
            last=last,
        )
        if not allowed:
            return []
        entries, settings, reference_seconds = self._pool(before)
        choices = choose(
            entries,
            self.windows,
            settings,
            reference_seconds=reference_seconds,
            seed=self.seed,
            chosen_before=counts["submitted"],
            n=allowed,
            remaining_core_seconds=self.core_time().remaining,
        )
        if choices:
            confirm()
        return [choice for choice in choices if self._mark(choice)]

    def _mark(self, choice: Choice) -> bool:
        try:
            candidates.transition(
                choice.id,
                source=State.SCREENED,
                to=State.SELECTED,
                token=candidates.load(choice.id).token,
                agent=AGENT,
                updates={"selection": {**choice.record(), "mode": self.settings.acquisition}},
                inputs={"level": self.backend.level(self.dft), "seed": self.seed},
            )
        except StaleLease:  # another process chose it
            return False
        return True

    def submit(self) -> list[str]:
        """Queue the calculations of every selected candidate.

        Returns:
            Their ids.
        """
        submitted = []
        selected = Candidate.objects(campaign=self.campaign, state=str(State.SELECTED))
        for candidate in sorted(selected, key=lambda one: one.selection.get("position", 0)):
            try:
                self.submission.submit(candidate.id)
            except StaleLease:  # another process submitted it
                continue
            submitted.append(candidate.id)
        return submitted

    def collect(self) -> Collected:
        """Take in what the launchers finished, after queueing again what they lost."""
        self._recovered.get()
        return collect(self.campaign, self.windows, self.pad, self.settings)

    def _recover(self) -> list[int]:
        return recover(
            self.pad,
            lost_seconds=self.settings.lost_seconds,
            max_launches=self.settings.max_launches,
        )

    def progress(self, *, last: bool, before: int | None = None, stop: bool = False) -> Progress:
        """Say where the verification stands, from the records alone.

        Args:
            last: No more candidates will be screened.
            before: Only candidates proposed before this number may be chosen; None for all.
            stop: Nothing more is to be chosen.
        """
        counts: dict[str, Any] = self._counts(before)
        if not self.enabled:
            return Progress(**counts, done=True, waiting_for="")
        if counts["in_flight"]:
            waiting = f"dft: {counts['in_flight']} candidates, {self._told.get().describe()}"
            return Progress(**counts, done=False, waiting_for=waiting)
        spent = (
            stop
            or counts["submitted"] >= self.settings.max_submitted
            or counts["completed"] >= self.settings.max_completed
        )
        if spent:
            return Progress(**counts, done=True, waiting_for="")
        if last:
            entries, settings, costs = self._pool(before)
            left = self.core_time().remaining
            if not affordable(entries, settings, costs, left):
                return Progress(
                    **counts,
                    done=True,
                    waiting_for="",
                    out_of_core_hours=bool(affordable(entries, settings, costs)),
                    out_of_time=bool(affordable(entries, self.settings, costs, left)),
                )
        return Progress(**counts, done=False, waiting_for="dft: screened candidates")

    @property
    def longest_core_seconds(self) -> float:
        """Core-seconds that a calculation may be estimated to take in this run."""
        return math.inf if self.choosing is self.settings else self.choosing.affordable_core_seconds

    def core_time(self) -> CoreTime:
        """Return what the campaign spent on DFT, and what is left."""
        return core_time(self.campaign, self.settings.max_core_hours)

    def _counts(self, before: int | None = None) -> dict[str, int]:
        states = [str(state) for state in (*IN_FLIGHT, State.VERIFIED, State.FAILED)]
        # At least 0, not "exists": so the index alone answers, and no record is read.
        chosen = Candidate.objects(
            campaign=self.campaign, state__in=states, selection__position__gte=0
        )
        groups = {"_id": {"state": "$state", "hit": "$verification.hit"}, "n": {"$sum": 1}}
        number: Counter[str] = Counter()
        for group in chosen.aggregate([{"$group": groups}], hint=CHOSEN):
            number[group["_id"]["state"]] += group["n"]
            if group["_id"]["state"] == State.VERIFIED and group["_id"].get("hit"):
                number["hits"] += group["n"]
        return {
            "submitted": sum(number[state] for state in states),
            "completed": number[State.VERIFIED],
            "failed": number[State.FAILED],
            "hits": number["hits"],
            "in_flight": sum(number[state] for state in IN_FLIGHT),
            "pool": queries.count_state(self.campaign, State.SCREENED, before),
        }

    def _entry(self, candidate: Candidate) -> Entry:
        if candidate.id not in self._estimates:
            self._estimates[candidate.id] = self._estimate(candidate)
        return Entry(
            id=candidate.id,
            elements=tuple(candidate.elements),
            predictions=tuple(candidate.predictions),
            core_seconds=self._estimates[candidate.id],
            known_formula=candidate.duplicates.get("training", {}).get("compared", 0) > 0,
        )

    def _estimate(self, candidate: Candidate) -> float:
        try:
            structure = record_to_structure(crystal_of(candidate))
            return estimate(self.backend, structure, self.dft, self.settings)
        except OWN_FAILURES as error:
            log.warning("%s is never chosen for DFT: %s", candidate.id, describe(error))
            return math.inf

    def _pool(
        self, before: int | None = None
    ) -> tuple[list[Entry], VerifySettings, dict[str, float]]:
        """Read the candidates that may be chosen, and what an elemental reference would cost."""
        screened = Candidate.objects(campaign=self.campaign, state=str(State.SCREENED))
        if before is not None:
            screened = screened.filter(seq__lt=before)
        entries = [self._entry(one) for one in screened.only(*_POOL_FIELDS)]
        elements = sorted({element for entry in entries for element in entry.elements})
        costs = {element: self._cost_of_reference(element) for element in elements}
        for element in self._elements_in_flight() & set(costs):
            if not math.isinf(costs[element]):
                costs[element] = 0.0
        return entries, self.choosing, costs

    def _elements_in_flight(self) -> set[str]:
        """Return the elements whose references a chosen candidate pays for already.

        A choice must not depend on whether the ones before it were submitted: a crash may come
        between.
        """
        chosen = Candidate.objects(
            campaign=self.campaign, state__in=[str(state) for state in IN_FLIGHT]
        )
        return {element for elements in chosen.scalar("elements") for element in elements}

    def _cost_of_reference(self, element: str) -> float:
        if self.backend.unsupported([element], self.dft) is not None:
            return math.inf
        try:
            spec = self.submission.reference_spec(element)
        except OWN_FAILURES as error:
            log.warning("%s has no elemental reference: %s", element, describe(error))
            return math.inf
        recorded = find_equal(spec)
        calculation = None if recorded is None else calculations.load(recorded)
        if calculation is None or may_retry(calculation, self.settings.timeout_seconds):
            seconds = spec["estimated_core_seconds"]
            return math.inf if seconds is None else float(seconds)
        return math.inf if calculation.state == CalculationState.FAILED else 0.0
