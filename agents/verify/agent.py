"""The verification agent: chooses, submits and collects; all it knows is in the database."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from mongoengine.queryset import QuerySet

from agents.targets import Window
from agents.verify.acquisition import Choice, Entry, affordable, calls_allowed, choose
from agents.verify.backend import load_backend
from agents.verify.collection import Collected, collect
from agents.verify.identity import find_equal
from agents.verify.launchpad import launchpad
from agents.verify.presets import DFTSettings
from agents.verify.recovery import recover
from agents.verify.settings import VerifySettings
from agents.verify.submission import AGENT, Submission, crystal_of
from db import calculations, candidates
from db.candidates import StaleLease
from db.connection import Session
from db.crystals import record_to_structure
from db.documents import Candidate
from db.states import CalculationState, State

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
    """

    submitted: int
    completed: int
    failed: int
    hits: int
    in_flight: int
    pool: int
    done: bool
    waiting_for: str


class VerifyAgent:
    """Verifies the candidates of one campaign.

    Args:
        campaign: Name of the campaign.
        session: The database connection.
        settings: The campaign's settings.
        windows: The campaign's targets.
        seed: The campaign's seed.
        resolved: What `agents.verify.backend.resolve_backend` decided at the campaign's start.
    """

    def __init__(
        self,
        campaign: str,
        session: Session,
        settings: VerifySettings,
        windows: Sequence[Window],
        seed: int,
        resolved: dict[str, Any],
    ) -> None:
        self.campaign = campaign
        self.settings = settings
        self.windows = tuple(windows)
        self.seed = seed
        self.enabled = resolved["name"] != "none" and settings.max_submitted > 0
        if self.enabled:
            self.backend = load_backend(resolved["name"])
            self.dft = DFTSettings.model_validate(resolved["settings"])
            self.pad = launchpad(session)
            self.submission = Submission(self.pad, self.backend, self.dft, settings)
        self._estimates: dict[str, float] = {}  # a cache; estimates never change

    def step(self, *, last: bool, within: Collection[str] | None = None) -> Progress:
        """Do everything that can be done now, once.

        Args:
            last: No more candidates will be screened.
            within: Ids of the candidates that may be chosen; None for all. With whole rounds only,
                the choice does not depend on which candidate was screened first.
        """
        if self.enabled:
            self.submission.reconcile()
            self.collect()
            self.select(last=last, within=within)
            self.submit()
        return self.progress(last=last)

    def select(self, *, last: bool, within: Collection[str] | None = None) -> list[Choice]:
        """Choose screened candidates and mark them ``selected``.

        Args:
            last: No more candidates will be screened, so a small pool need not wait.
            within: Ids of the candidates that may be chosen; None for all.
        """
        counts = self._counts(within)
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
        entries, settings, reference_seconds = self._pool(within)
        choices = choose(
            entries,
            self.windows,
            settings,
            reference_seconds=reference_seconds,
            seed=self.seed,
            chosen_before=counts["submitted"],
            n=allowed,
        )
        for choice in choices:
            candidates.transition(
                choice.id,
                source=State.SCREENED,
                to=State.SELECTED,
                token=candidates.load(choice.id).token,
                agent=AGENT,
                updates={"selection": {**choice.record(), "mode": self.settings.acquisition}},
                inputs={"level": self.backend.level(self.dft), "seed": self.seed},
            )
        return choices

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
        recover(
            self.pad,
            lost_seconds=self.settings.lost_seconds,
            max_launches=self.settings.max_launches,
        )
        return collect(self.campaign, self.windows, self.pad, self.settings)

    def progress(self, *, last: bool) -> Progress:
        """Say where the verification stands, from the records alone."""
        counts = self._counts()
        if not self.enabled:
            return Progress(**counts, done=True, waiting_for="")
        if counts["in_flight"]:
            waiting = f"dft: {counts['in_flight']} candidates"
            return Progress(**counts, done=False, waiting_for=waiting)
        spent = (
            counts["submitted"] >= self.settings.max_submitted
            or counts["completed"] >= self.settings.max_completed
        )
        if spent or (last and not affordable(*self._pool())):
            return Progress(**counts, done=True, waiting_for="")
        return Progress(**counts, done=False, waiting_for="dft: screened candidates")

    def _counts(self, within: Collection[str] | None = None) -> dict[str, int]:
        mine = Candidate.objects(campaign=self.campaign)
        chosen = mine.filter(selection__position__exists=True)
        verified = chosen.filter(state=str(State.VERIFIED))
        return {
            "submitted": chosen.count(),
            "completed": verified.count(),
            "failed": chosen.filter(state=str(State.FAILED)).count(),
            "hits": verified.filter(verification__hit=True).count(),
            "in_flight": chosen.filter(state__in=[str(state) for state in IN_FLIGHT]).count(),
            "pool": self._screened(within).count(),
        }

    def _entry(self, candidate: Candidate) -> Entry:
        if candidate.id not in self._estimates:
            structure = record_to_structure(crystal_of(candidate))
            self._estimates[candidate.id] = self.backend.estimate_core_seconds(structure, self.dft)
        return Entry(
            id=candidate.id,
            elements=tuple(candidate.elements),
            predictions=tuple(candidate.predictions),
            core_seconds=self._estimates[candidate.id],
        )

    def _screened(self, within: Collection[str] | None) -> QuerySet:
        screened = Candidate.objects(campaign=self.campaign, state=str(State.SCREENED))
        return screened if within is None else screened.filter(id__in=sorted(within))

    def _pool(
        self, within: Collection[str] | None = None
    ) -> tuple[list[Entry], VerifySettings, dict[str, float]]:
        entries = [self._entry(candidate) for candidate in self._screened(within)]
        elements = sorted({element for entry in entries for element in entry.elements})
        return entries, self.settings, {e: self._cost_of_reference(e) for e in elements}

    def _cost_of_reference(self, element: str) -> float:
        if self.backend.unsupported([element], self.dft) is not None:
            return math.inf
        try:
            spec = self.submission.reference_spec(element)
        except ValueError:
            return math.inf
        recorded = find_equal(spec)
        if recorded is None:
            seconds = spec["estimated_core_seconds"]
            return math.inf if seconds is None else float(seconds)
        failed = calculations.load(recorded).state == CalculationState.FAILED
        return math.inf if failed else 0.0
