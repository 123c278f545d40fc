"""The follow-up of a campaign's hits: it chooses, queues and collects.

All it knows is in the database. The workers that relax ask the potential
(`agents.follow_up.stability`); this agent, which runs in the campaign's loop, asks DFT. Both write
to the same candidate by compare-and-set, and it stays ``verified``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from agents.follow_up.answers import answer_of, gaps
from agents.follow_up.plan import plan_calculations, plan_phases
from agents.follow_up.settings import FollowUpSettings
from agents.relax.phases import HullRefused
from agents.targets import Window
from agents.verify.agent import VerifyAgent
from agents.verify.choice.budget import core_time
from agents.verify.collection import release_files
from agents.verify.properties.hull import PhaseCalculation, hull_record, queue_phase
from agents.verify.submission import OWN_FAILURES, Submission, describe
from agents.verify.tasks import Task
from agents.verify.workflow import COMPOUND
from db import calculations, candidates
from db.candidates import StaleLease
from db.crystals import record_to_structure
from db.documents import Candidate
from db.leases import MAX_ATTEMPTS
from db.states import CalculationState, State

log = logging.getLogger(__name__)

AGENT = "follow_up"
FINAL = (CalculationState.COMPLETED, CalculationState.FAILED)


@dataclass(frozen=True)
class FollowUpProgress:
    """Where the follow-up of a campaign stands.

    Attributes:
        chosen: Hits that are followed up.
        potential: Those whose stability is still to be asked.
        dft: Those whose calculations are not finished.
        postponed: Those among them whose calculations are too long for this run.
        done: Nothing is left that this run can do for the hits there are.
    """

    chosen: int = 0
    potential: int = 0
    dft: int = 0
    postponed: int = 0

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.potential == 0 and self.dft == self.postponed

    @property
    def waiting_for(self) -> str:
        """What it waits for, in words; empty when done."""
        queued = self.dft - self.postponed
        return "" if self.done else f"follow-up: {self.potential} potential, {queued} dft"


class FollowUpAgent:
    """Follows up the hits of one campaign.

    Args:
        verification: The campaign's verification: its code, level, queue and settings are used.
        settings: What is asked.
        windows: The campaign's targets.
        seed: The campaign's seed.
    """

    def __init__(
        self,
        verification: VerifyAgent,
        settings: FollowUpSettings,
        windows: Sequence[Window],
        seed: int,
    ) -> None:
        self.campaign = verification.campaign
        self.settings = settings
        self.windows = tuple(windows)
        self.seed = seed
        self.enabled = settings.max_hits > 0 and verification.enabled
        self.longest = verification.longest_core_seconds
        self._postponed: set[str] = set()  # a cache: this process's run allows no more later
        if self.enabled:
            self.verify = verification.settings.model_copy(
                update={"timeout_seconds": settings.timeout_seconds}
            )
            self.submission = Submission(
                verification.pad,
                verification.backend,
                verification.dft,
                self.verify,
                campaign=self.campaign,
            )

    def step(self) -> FollowUpProgress:
        """Do everything that can be done now, once."""
        if not self.enabled:
            return FollowUpProgress()
        self.choose()
        for candidate in self._followed():
            with suppress(StaleLease):  # a worker wrote to it; the next step sees the new record
                self._advance(candidate)
        return self.progress()

    def choose(self) -> list[str]:
        """Mark hits to be followed up, in order of proposal, up to ``max_hits``.

        Returns:
            Their ids.
        """
        number = len(self._followed())
        if number >= self.settings.max_hits:
            return []
        hits = Candidate.objects(
            campaign=self.campaign,
            state=str(State.VERIFIED),
            verification__hit=True,
            follow_up=None,
        ).order_by("seq")
        chosen: list[str] = []
        for candidate in hits:
            if number + len(chosen) >= self.settings.max_hits:
                break
            compound = calculations.load(candidate.verification["calculations"][COMPOUND])
            with suppress(StaleLease):  # another process chose it
                self._write(
                    candidate,
                    {
                        "follow_up": {
                            "position": number + len(chosen),
                            "structure": compound.result["structure"],
                            "calculation": str(compound.hash),
                            "settings": self.settings.model_dump(mode="json"),
                            "seed": self.seed,
                        }
                    },
                    {"calculation": str(compound.hash)},
                )
                chosen.append(candidate.id)
        return chosen

    def progress(self) -> FollowUpProgress:
        """Say where the follow-up stands, from the records alone."""
        if not self.enabled:
            return FollowUpProgress()
        followed = self._followed()
        return FollowUpProgress(
            chosen=len(followed),
            potential=sum("stability" not in one.follow_up for one in followed),
            dft=sum("gaps" not in one.follow_up for one in followed),
            postponed=sum(one.id in self._postponed for one in followed),
        )

    def _followed(self) -> list[Candidate]:
        return list(
            Candidate.objects(
                campaign=self.campaign,
                state=str(State.VERIFIED),
                follow_up__position__exists=True,
            ).order_by("seq")
        )

    def _advance(self, candidate: Candidate) -> None:
        if candidate.lease is not None:  # a worker asks the potential
            return
        record = candidate.follow_up
        if "stability" not in record and candidate.attempts >= MAX_ATTEMPTS:
            reason = candidate.history[-1].get("reason", f"gave up after {MAX_ATTEMPTS} attempts")
            given_up = {"failed": reason, "verdict": "undecided"}
            self._write(candidate, {"follow_up.stability": given_up}, {})
        elif "dft" not in record and candidate.id not in self._postponed:
            if "stability" in record or not self.settings.hull:  # which names the phases of a hull
                self._queue(candidate)
        elif "dft" in record and "gaps" not in record:
            self._conclude(candidate)

    def _queue(self, candidate: Candidate) -> None:
        """Plan what DFT is asked, queue it, and write down what is not asked and why."""
        record = candidate.follow_up
        compound = calculations.load(record["calculation"])
        submission = self.submission
        left = core_time(self.campaign, self.verify.max_core_hours).remaining
        limit = min(3600 * self.settings.max_core_hours, left)
        try:
            plan = plan_calculations(
                compound,
                submission.backend,
                submission.dft,
                self.settings,
                is_metal=bool(candidate.verification["is_metal"]),
                limit=limit,
            )
            if self.settings.hull:
                competing = record.get("competing") or {
                    "refused": {"reason": "incomplete", "detail": "the phases were not chosen"}
                }
                plan_phases(plan, competing, submission.backend, submission.dft, self.verify, limit)
            if plan.longest > self.longest:  # a longer run asks, and is refused nothing by this one
                self._postponed.add(candidate.id)
                return
            hashes = {
                str(task): submission.queue(spec, candidate.id) for task, spec in plan.specs.items()
            }
            phases = {
                name: queue_phase(submission, record_to_structure(structure), candidate.id)
                for name, structure in plan.phases.items()
            }
        except OWN_FAILURES as error:
            log.warning("%s: its follow-up cannot be set up", candidate.id, exc_info=True)
            self._write(candidate, {"follow_up.dft": {"failed": describe(error)}}, {})
            return
        asked = {
            "calculations": hashes,
            "phases": phases,
            "refused": {str(name): reason for name, reason in plan.refused.items()},
            "estimated_core_hours": plan.core_seconds / 3600,
            "limit_core_hours": None if math.isinf(limit) else limit / 3600,
        }
        inputs = {"calculations": [*hashes.values(), *phases.values()]}
        self._write(candidate, {"follow_up.dft": asked}, inputs)

    def _conclude(self, candidate: Candidate) -> None:
        """Store the answers once every calculation has ended."""
        asked = candidate.follow_up["dft"]
        own = {
            task: calculations.load(name) for task, name in asked.get("calculations", {}).items()
        }
        phases = [
            PhaseCalculation(name, calculations.load(hash))
            for name, hash in asked.get("phases", {}).items()
        ]
        everything = [*own.values(), *(one.calculation for one in phases)]
        if any(one.state not in FINAL for one in everything):
            return
        answers = {task: answer_of(Task(task), one) for task, one in own.items()}
        updates: dict[str, Any] = {f"follow_up.{task}": one for task, one in answers.items()}
        if phases:
            hull = self._hull(candidate, phases)
            updates["follow_up.hull"] = hull
            if "energy_above_hull" in hull:  # the bare name is that of DFT
                updates["verification.energy_above_hull"] = hull["energy_above_hull"]
        verified = float(candidate.verification["band_gap"])
        updates["follow_up.gaps"] = gaps(verified, answers, self.windows)
        inputs = {"calculations": [str(one.hash) for one in everything]}
        self._write(candidate, updates, inputs)
        release_files(calculations.load(candidate.follow_up["calculation"]))

    def _hull(self, candidate: Candidate, phases: Sequence[PhaseCalculation]) -> dict[str, Any]:
        hashes = candidate.verification["calculations"]
        compound = calculations.load(hashes[COMPOUND])
        references = {
            element: calculations.load(name) for element, name in hashes["references"].items()
        }
        competing = candidate.follow_up["competing"]
        geometry = "relaxed by DFT" if "relax" in hashes else f"{competing['level']}, relaxed"
        considered = {
            name: competing[name] for name in ("reference", "margin", "n_considered", "geometry")
        }
        found = {"competing": considered, "level": str(compound.level)}
        try:
            return {**found, **hull_record(compound, phases, references, geometry=geometry)}
        except HullRefused as refusal:
            return {**found, "refused": {"reason": refusal.reason, "detail": str(refusal)}}
        except OWN_FAILURES as error:
            return {**found, "refused": {"reason": "failed", "detail": describe(error)}}

    def _write(self, candidate: Candidate, updates: dict[str, Any], inputs: dict[str, Any]) -> None:
        candidates.transition(
            candidate.id,
            source=State.VERIFIED,
            to=State.VERIFIED,
            token=candidate.token,
            agent=AGENT,
            updates=updates,
            inputs=inputs,
        )
