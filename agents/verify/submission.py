"""From a selected candidate to queued calculations, each paid for once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from agents.verify.attempts import job, may_retry, retry
from agents.verify.backend import DFTBackend, LevelSettings
from agents.verify.identity import calculation_spec, find_equal
from agents.verify.launchpad import add_firework
from agents.verify.references import is_molecule
from agents.verify.settings import VerifySettings
from db import calculations, candidates
from db.crystals import record_to_structure
from db.documents import Calculation, Candidate
from db.states import CalculationState, State

if TYPE_CHECKING:
    from fireworks import LaunchPad

log = logging.getLogger(__name__)

AGENT = "verify"
OWN_FAILURES = (ValueError, ArithmeticError, LookupError, RuntimeError)
"""Raised at a crystal that a library cannot handle: that candidate fails, the campaign goes on."""


def describe(error: BaseException) -> str:
    """Put an exception into the words that are stored with a candidate."""
    return f"{type(error).__name__}: {error}"


class Submission:
    """Queues the calculations of candidates.

    Recording a calculation comes first (state ``submitting``, unique hash), then its Firework, then
    ``submitted``. Every step may be repeated, so `submit` and `reconcile` bring whatever a crash
    left behind to the same end. A recorded calculation that failed by circumstances only is queued
    anew when another candidate asks for it (`agents.verify.attempts`).

    Args:
        pad: The queue.
        backend: The DFT code.
        dft: Settings of the level of theory.
        settings: The campaign's settings (timeout, niceness).
    """

    def __init__(
        self, pad: LaunchPad, backend: DFTBackend[Any], dft: LevelSettings, settings: VerifySettings
    ) -> None:
        self.pad = pad
        self.backend = backend
        self.dft = dft
        self.settings = settings
        self._references: dict[str, dict[str, Any]] = {}  # a cache; they never change

    def submit(self, candidate_id: str) -> dict[str, Any]:
        """Queue a selected candidate's calculation and the elemental references it still lacks.

        Args:
            candidate_id: A candidate in state ``selected``; it becomes ``verifying``, or ``failed``
                where its calculation cannot be set up.

        Returns:
            ``{"compound": hash, "references": {element: hash}}``; empty where it failed.

        Raises:
            StaleLease: Somebody else moved the candidate meanwhile.
        """
        candidate = candidates.load(candidate_id)
        control = bool(candidate.selection.get("control", False))
        try:
            structure = record_to_structure(crystal_of(candidate))
            specs = {
                element: self.reference_spec(element) for element in sorted(candidate.elements)
            }
            compound = calculation_spec(self.backend, structure, self.dft, kind="compound")
        except OWN_FAILURES as error:
            log.warning("%s: its calculation cannot be set up", candidate_id, exc_info=True)
            self._fail(candidate, describe(error))
            return {}
        compound["control"] = control
        hashes: dict[str, Any] = {
            "compound": self._queue(compound, candidate_id),
            "references": {
                element: self._queue(spec, candidate_id) for element, spec in specs.items()
            },
        }
        candidates.transition(
            candidate_id,
            source=State.SELECTED,
            to=State.VERIFYING,
            token=candidate.token,
            agent=AGENT,
            updates={
                "verification": {
                    "calculations": hashes,
                    "level": self.backend.level(self.dft),
                    "settings": self.dft.record(),
                    "control": control,
                }
            },
            inputs={"calculation": hashes["compound"], "level": self.backend.level(self.dft)},
        )
        return hashes

    def reference_spec(self, element: str) -> dict[str, Any]:
        """Describe the calculation of an element's reference phase.

        Raises:
            ValueError: There is no reference structure for this element.
        """
        if element not in self._references:
            self._references[element] = calculation_spec(
                self.backend,
                self.backend.reference(element),
                self.dft,
                kind="reference",
                molecule=is_molecule(element),
                info={"element": element},
            )
        return dict(self._references[element])

    def reconcile(self) -> int:
        """Queue every calculation that was recorded but perhaps never queued.

        Returns:
            How many were brought to ``submitted``.
        """
        waiting = Calculation.objects(
            state=str(CalculationState.SUBMITTING), code=self.backend.name
        )
        return sum(self._advance(calculation) for calculation in waiting)

    def _queue(self, spec: dict[str, Any], candidate_id: str) -> str:
        recorded = find_equal(spec)
        if recorded is None:
            limit = {"timeout_seconds": self.settings.timeout_seconds}
            calculation, _ = calculations.claim({**spec, "info": {**spec["info"], **limit}})
        else:
            calculation = calculations.load(recorded)
        asked_before = candidate_id in calculation.candidates
        if not asked_before and may_retry(calculation, self.settings.timeout_seconds):
            retry(calculation, self.settings.timeout_seconds)
            calculation = calculations.load(calculation.hash)
        calculations.link_candidate(calculation.hash, candidate_id)
        self._advance(calculation)
        return str(calculation.hash)

    def _advance(self, calculation: Calculation) -> bool:
        if calculation.state != CalculationState.SUBMITTING:
            return False
        fw_id = add_firework(
            self.pad,
            {
                "calculation": job(calculation),
                "code": calculation.code,
                "input": {
                    "task": calculation.task,
                    "options": calculation.options,
                    "structure": calculation.structure,
                    "settings": calculation.settings,
                    "molecule": bool(calculation.info.get("molecule", False)),
                },
                "timeout_seconds": calculation.info.get(
                    "timeout_seconds", self.settings.timeout_seconds
                ),
                "nice": self.settings.nice,
                "ping_seconds": self.settings.ping_seconds,
                "lost_seconds": self.settings.lost_seconds,
                "max_launches": self.settings.max_launches,
            },
            name=f"{calculation.formula} {calculation.level}",
        )
        return calculations.advance(
            calculation.hash, CalculationState.SUBMITTING, CalculationState.SUBMITTED, fw_id=fw_id
        )

    def _fail(self, candidate: Candidate, message: str) -> None:
        candidates.transition(
            candidate.id,
            source=State.SELECTED,
            to=State.FAILED,
            token=candidate.token,
            agent=AGENT,
            reason=f"dft: {message}",
        )


def crystal_of(candidate: Candidate) -> dict[str, Any]:
    """Return the crystal that DFT judges: relaxed, or as decoded where it was not relaxed."""
    relaxed: dict[str, Any] | None = (candidate.relaxation or {}).get("structure")
    return relaxed or dict(candidate.structure)
