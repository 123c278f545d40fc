"""Verification of a person's own structures, the same code as in a campaign.

The calculations are recorded and queued like those of candidates, and a candidate of a campaign
finds them there: each is paid for once, whoever asked first. So an interrupted verification is
continued by asking again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agents.verify import workflow
from agents.verify.backend import DFTBackend, LevelSettings
from agents.verify.collection import collect_calculations, release_files, verification_record
from agents.verify.identity import find_equal
from agents.verify.queue.attempts import may_retry
from agents.verify.queue.recovery import recover
from agents.verify.settings import VerifySettings
from agents.verify.submission import OWN_FAILURES, Submission, describe
from agents.verify.workflow import COMPOUND
from db import calculations
from db.documents import Calculation
from db.states import CalculationState

if TYPE_CHECKING:
    from fireworks import LaunchPad
    from pymatgen.core import Structure

GAP = "gap"
RELAX = "relax"


@dataclass(frozen=True)
class Estimate:
    """What a verification will cost.

    Attributes:
        structures: Core-seconds of each crystal's own calculations by its identifier; 0 where they
            are recorded with a result.
        references: Core-seconds of each elemental reference that is still missing.
        refused: Identifier to the reason why a crystal cannot be computed.
    """

    structures: dict[str, float]
    references: dict[str, float]
    refused: dict[str, str]

    @property
    def core_seconds(self) -> float:
        """All of it, s."""
        return math.fsum([*self.structures.values(), *self.references.values()])


@dataclass
class _Queued:
    """The hashes of one crystal's calculations."""

    own: dict[str, str] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)


class FileVerification:
    """Verifies crystals that belong to no campaign.

    Its life: `estimate` says what it will cost, `queue` records and queues the calculations, `step`
    takes in what launchers finished (call it until `waiting` is 0), `release` frees the disk,
    `record` tells the outcome of one crystal. All of it may be repeated, also by another process
    after a crash.

    Args:
        pad: The queue.
        backend: The DFT code.
        dft: The level of theory.
        settings: Workflow, limits and niceness.
        structures: Identifier to crystal.
    """

    def __init__(
        self,
        pad: LaunchPad,
        backend: DFTBackend[Any],
        dft: LevelSettings,
        settings: VerifySettings,
        structures: Mapping[str, Structure],
    ) -> None:
        self.pad = pad
        self.backend = backend
        self.dft = dft
        self.settings = settings
        self.structures = dict(structures)
        self.submission = Submission(pad, backend, dft, settings)
        self._queued: dict[str, _Queued] = {}
        self._refused: dict[str, str] = {}

    def estimate(self) -> Estimate:
        """Say what has to be computed and what it will cost; nothing is queued."""
        costs: dict[str, float] = {}
        references: dict[str, float] = {}
        refused: dict[str, str] = {}
        for name, structure in self.structures.items():
            try:
                own = self._own_seconds(structure)
                others = {
                    element: self._reference_seconds(element)
                    for element in elements_of(structure)
                    if element not in references
                }
            except OWN_FAILURES as error:
                refused[name] = describe(error)
                continue
            reason = self.backend.unsupported(elements_of(structure), self.dft)
            if reason is not None or math.isinf(own + math.fsum(others.values())):
                refused[name] = reason or "its cell cannot be standardised"
                continue
            costs[name] = own
            references |= others
        self._refused = refused
        return Estimate(costs, {e: s for e, s in references.items() if s > 0}, refused)

    def queue(self) -> None:
        """Record and queue everything that is missing; after `estimate`."""
        for name, structure in self.structures.items():
            if name in self._refused:
                continue
            try:
                self._queued[name] = _Queued(
                    own=self.submission.queue_workflow(structure),
                    references={
                        element: self.submission.queue(self.submission.reference_spec(element))
                        for element in elements_of(structure)
                    },
                )
            except OWN_FAILURES as error:  # of this crystal; the others go on
                self._refused[name] = describe(error)

    def step(self) -> int:
        """Take in what the launchers finished.

        Returns:
            How many calculations are not finished.
        """
        self.submission.reconcile()
        recover(
            self.pad,
            lost_seconds=self.settings.lost_seconds,
            max_launches=self.settings.max_launches,
        )
        collect_calculations(self.pad, self.settings)
        return self.waiting()

    def waiting(self) -> int:
        """Count the calculations that have neither a result nor a failure."""
        hashes = {
            hash
            for queued in self._queued.values()
            for hash in (*queued.own.values(), *queued.references.values())
        }
        states = (CalculationState.SUBMITTING, CalculationState.SUBMITTED)
        return int(
            Calculation.objects(
                hash__in=sorted(hashes), state__in=[str(state) for state in states]
            ).count()
        )

    def release(self) -> None:
        """Remove the files that only following tasks need, where no candidate asks for them."""
        for queued in self._queued.values():
            for hash in queued.own.values():
                calculation = calculations.load(hash)
                finished = calculation.state == CalculationState.COMPLETED
                if finished and not calculation.candidates:
                    release_files(calculation)

    def record(self, name: str) -> dict[str, Any]:
        """Tell what became of one crystal.

        Args:
            name: Its identifier.

        Returns:
            Plain JSON values. ``status`` is "completed", "failed" (``reason`` says why) or
            "waiting"; a completed one has the numbers of a campaign's candidate (energies in
            eV/atom, raw and corrected, the gap in eV) and ``hashes`` of its calculations.
        """
        common: dict[str, Any] = {
            "backend": self.backend.name,
            "preset": self.dft.preset,
            "level": self.backend.level(self.dft),
        }
        if name not in self._queued:
            reason = self._refused.get(name, "it was not queued")
            return {"status": "failed", "reason": reason, **common, "hashes": {}}
        queued = self._queued[name]
        own = {step: calculations.load(hash) for step, hash in queued.own.items()}
        references = {e: calculations.load(hash) for e, hash in queued.references.items()}
        common["hashes"] = {**queued.own, "references": dict(queued.references)}
        failure = _failure(own, references)
        everything = [*own.values(), *references.values()]
        if failure is None and any(one.state != CalculationState.COMPLETED for one in everything):
            return {"status": "waiting", "reason": "its calculations are not finished", **common}
        if failure is None:
            try:
                numbers = verification_record(
                    own[COMPOUND], references, (), relax=own.get(RELAX), gap=own.get(GAP)
                )
            except OWN_FAILURES as error:
                failure = describe(error)
        if failure is not None:
            return {"status": "failed", "reason": failure, **common, **_energies(own)}
        for unused in ("targets", "hit"):  # there are no windows
            numbers.pop(unused)
        return {"status": "completed", "reason": None, **common, **_energies(own), **numbers}

    def _own_seconds(self, structure: Structure) -> float:
        recorded = self._recorded_step(structure)
        if recorded is not None:
            return 0.0
        return workflow.estimate(self.backend, structure, self.dft, self.settings)

    def _recorded_step(self, structure: Structure) -> Calculation | None:
        """Return the last calculation of a workflow that is recorded as a whole."""
        parent, found = None, None
        for step in workflow.steps(self.settings):
            parent = find_equal(self.submission.step_spec(structure, step, parent))
            found = None if parent is None else calculations.load(parent)
            if found is None or found.state != CalculationState.COMPLETED:
                return None
        return found

    def _reference_seconds(self, element: str) -> float:
        spec = self.submission.reference_spec(element)
        recorded = find_equal(spec)
        if recorded is not None:
            calculation = calculations.load(recorded)
            if not may_retry(calculation, self.settings.timeout_seconds):
                return 0.0
        seconds = spec["estimated_core_seconds"]
        return math.inf if seconds is None else float(seconds)


def elements_of(structure: Structure) -> list[str]:
    """Return the symbols of a crystal's elements, sorted."""
    return sorted(element.symbol for element in structure.composition.elements)


def _energies(own: Mapping[str, Calculation]) -> dict[str, Any]:
    """Return the energies of the cell that was computed, as far as there are any, eV."""
    result = own[COMPOUND].result if COMPOUND in own else None
    if not result:
        return {}
    return {name: result.get(name) for name in ("energy", "n_atoms", "k_points", "structure")}


def _failure(own: Mapping[str, Calculation], references: Mapping[str, Calculation]) -> str | None:
    for step, calculation in own.items():
        if calculation.state == CalculationState.FAILED:
            return f"{step}: {calculation.error}"
    for element, calculation in references.items():
        if calculation.state == CalculationState.FAILED:
            return f"the elemental reference of {element} failed: {calculation.error}"
    return None
