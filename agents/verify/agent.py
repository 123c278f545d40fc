"""The verification agent: chooses, submits and collects; all it knows is in the database."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agents.targets import Window
from agents.verify.acquisition import Choice, Entry, calls_allowed, choose
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
        self._references: dict[str, float] = {}

    def step(self, *, last: bool) -> Progress:
        """Do everything that can be done now, once.

        Args:
            last: No more candidates will be screened.
        """
        if self.enabled:
            self.submission.reconcile()
            self.collect()
            self.select(last=last)
            self.submit()
        return self.progress(last=last)

    def select(self, *, last: bool) -> list[Choice]:
        """Choose screened candidates and mark them ``selected``.

        Args:
            last: No more candidates will be screened, so a small pool need not wait.
        """
        counts = self._counts()
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
        pool = list(Candidate.objects(campaign=self.campaign, state=str(State.SCREENED)))
        by_id = {candidate.id: candidate for candidate in pool}
        entries = [self._entry(candidate) for candidate in pool]
        choices = choose(
            entries,
            self.windows,
            self.settings,
            reference_seconds=self._reference_seconds({e for one in entries for e in one.elements}),
            seed=self.seed,
            chosen_before=counts["submitted"],
            n=allowed,
        )
        for choice in choices:
            candidates.transition(
                choice.id,
                source=State.SCREENED,
                to=State.SELECTED,
                token=by_id[choice.id].token,
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
        done, waiting = not self.enabled, ""
        if self.enabled:
            remaining = calls_allowed(
                self.settings,
                submitted=counts["submitted"],
                completed=counts["completed"],
                in_flight=0,
                pool=math.inf,  # type: ignore[arg-type]
                last=True,
            )
            exhausted = last and not counts["selectable"]
            done = not counts["in_flight"] and (remaining == 0 or exhausted)
            if counts["in_flight"]:
                waiting = f"dft: {counts['in_flight']} candidates"
            elif not done:
                waiting = "dft: screened candidates to choose from"
        del counts["selectable"]
        return Progress(**counts, done=done, waiting_for=waiting)

    def _counts(self) -> dict[str, int]:
        mine = Candidate.objects(campaign=self.campaign)
        chosen = mine.filter(selection__position__exists=True)
        verified = chosen.filter(state=str(State.VERIFIED))
        return {
            "submitted": chosen.count(),
            "completed": verified.count(),
            "failed": chosen.filter(state=str(State.FAILED)).count(),
            "hits": verified.filter(verification__hit=True).count(),
            "in_flight": chosen.filter(state__in=[str(state) for state in IN_FLIGHT]).count(),
            "pool": mine.filter(state=str(State.SCREENED)).count(),
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

    def _reference_seconds(self, elements: set[str]) -> dict[str, float]:
        return {element: self._cost_of_reference(element) for element in sorted(elements)}

    def _cost_of_reference(self, element: str) -> float:
        if self._references.get(element) in (0.0, math.inf):
            return self._references[element]
        if self.backend.unsupported([element], self.dft) is not None:
            self._references[element] = math.inf
            return math.inf
        try:
            spec = self.submission.reference_spec(element)
        except ValueError:
            self._references[element] = math.inf
            return math.inf
        recorded = find_equal(spec)
        seconds = spec["estimated_core_seconds"]
        cost = math.inf if seconds is None else float(seconds)
        if recorded is not None:
            state = calculations.load(recorded).state
            cost = math.inf if state == CalculationState.FAILED else 0.0
        self._references[element] = cost
        return cost
