"""From a selected candidate to queued calculations, each paid for once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agents.verify.backend import DFTBackend, LevelSettings
from agents.verify.identity import calculation_spec, find_equal
from agents.verify.properties.references import is_molecule, reference_info
from agents.verify.queue.attempts import BY_PARENT, job, may_retry, retry
from agents.verify.queue.launchpad import add_firework
from agents.verify.settings import VerifySettings
from agents.verify.setup.ladder import ladder
from agents.verify.workflow import (
    COMPOUND,
    Step,
    category,
    leaves_restart_files,
    reference_options,
    steps,
    walltime,
)
from db import calculations, candidates
from db.crystals import record_to_structure
from db.documents import Calculation, Candidate
from db.states import CalculationState, State

if TYPE_CHECKING:
    from fireworks import LaunchPad
    from pymatgen.core import Structure

log = logging.getLogger(__name__)

AGENT = "verify"
OWN_FAILURES = (ValueError, ArithmeticError, LookupError, RuntimeError)
"""Raised at a crystal that a library cannot handle: that candidate fails, the campaign goes on."""


def describe(error: BaseException) -> str:
    """Put an exception into the words that are stored with a candidate."""
    return f"{type(error).__name__}: {error}"


class Submission:
    """Queues the calculations of candidates, or anybody's.

    Recording a calculation comes first (state ``submitting``, unique hash), then its Firework, then
    ``submitted``. Every step may be repeated, so `submit` and `reconcile` bring whatever a crash
    left behind to the same end. A recorded calculation that failed by circumstances only is queued
    anew when another candidate asks for it (`agents.verify.queue.attempts`).

    Args:
        pad: The queue.
        backend: The DFT code.
        dft: Settings of the level of theory.
        settings: The campaign's settings (workflow, timeout, niceness).
        campaign: Whose budget pays; None where there is no campaign.
    """

    def __init__(
        self,
        pad: LaunchPad,
        backend: DFTBackend[Any],
        dft: LevelSettings,
        settings: VerifySettings,
        campaign: str | None = None,
    ) -> None:
        self.pad = pad
        self.backend = backend
        self.dft = dft
        self.settings = settings
        self.campaign = campaign
        self._references: dict[str, dict[str, Any]] = {}  # a cache; they never change

    def submit(self, candidate_id: str) -> dict[str, Any]:
        """Queue a selected candidate's workflow and the elemental references it still lacks.

        Args:
            candidate_id: A candidate in state ``selected``; it becomes ``verifying``, or ``failed``
                where its calculations cannot be set up.

        Returns:
            ``{"compound": hash, "references": {element: hash}}``, with ``relax`` and ``gap`` where
            the workflow has them; empty where it failed.

        Raises:
            StaleLease: Somebody else moved the candidate meanwhile.
        """
        candidate = candidates.load(candidate_id)
        control = bool(candidate.selection.get("control", False))
        try:
            structure = record_to_structure(crystal_of(candidate))
            references = {
                element: self.reference_spec(element) for element in sorted(candidate.elements)
            }
            chain = self.queue_workflow(structure, candidate_id=candidate_id, control=control)
        except OWN_FAILURES as error:
            log.warning("%s: its calculations cannot be set up", candidate_id, exc_info=True)
            self._fail(candidate, describe(error))
            return {}
        hashes: dict[str, Any] = {
            **chain,
            "references": {
                element: self.queue(spec, candidate_id) for element, spec in references.items()
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
            inputs={"calculation": hashes[COMPOUND], "level": self.backend.level(self.dft)},
        )
        return hashes

    def queue_workflow(
        self, structure: Structure, *, candidate_id: str | None = None, control: bool = False
    ) -> dict[str, str]:
        """Queue relaxation, energy and gap of a crystal, as far as the settings ask for them.

        Args:
            structure: The crystal.
            candidate_id: The candidate that it is.
            control: The candidate belongs to the control arm.

        Returns:
            The hash of each step by its name (`agents.verify.workflow.steps`).

        Raises:
            ValueError: The crystal cannot be standardised.
        """
        hashes: dict[str, str] = {}
        parent: str | None = None
        for step in steps(self.settings):
            spec = self.step_spec(structure, step, parent)
            parent = hashes[step.name] = self.queue({**spec, "control": control}, candidate_id)
        return hashes

    def step_spec(self, structure: Structure, step: Step, parent: str | None) -> dict[str, Any]:
        """Describe one calculation of a crystal's workflow.

        Args:
            structure: The crystal.
            step: Of `agents.verify.workflow.steps`.
            parent: Hash of the step before it, None for the first.

        Raises:
            ValueError: The crystal cannot be standardised.
        """
        return calculation_spec(
            self.backend,
            structure,
            self.dft,
            kind="compound",
            task=step.task,
            parent=parent,
            options=step.options,
        )

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
                options=reference_options(element),
                molecule=is_molecule(element),
                info=reference_info(element),
            )
        return dict(self._references[element])

    def queue(self, spec: Mapping[str, Any], candidate_id: str | None = None) -> str:
        """Record a calculation and queue it, unless that was done before: it is paid for once.

        Args:
            spec: From `agents.verify.identity.calculation_spec`; its parent has been queued.
            candidate_id: The candidate it is for.

        Returns:
            The hash under which it is recorded: the spec's own, or that of an equal one.
        """
        recorded = find_equal(dict(spec))
        if recorded is None:
            limit = {"timeout_seconds": self.settings.timeout_seconds, "campaign": self.campaign}
            calculation, _ = calculations.claim({**spec, "info": {**spec["info"], **limit}})
        else:
            calculation = calculations.load(recorded)
        asked_before = candidate_id is not None and candidate_id in calculation.candidates
        if not asked_before and may_retry(calculation, self.settings.timeout_seconds):
            retry(calculation, self.settings.timeout_seconds, campaign=self.campaign)
            calculation = calculations.load(calculation.hash)
        if candidate_id is not None:
            calculations.link_candidate(calculation.hash, candidate_id)
        self._advance(calculation)
        return str(calculation.hash)

    def reconcile(self) -> int:
        """Queue every calculation that was recorded but perhaps never queued.

        Returns:
            How many were brought to ``submitted``.
        """
        waiting = Calculation.objects(
            state=str(CalculationState.SUBMITTING), code=self.backend.name
        )
        return sum(self._advance(calculation) for calculation in waiting.order_by("created_at"))

    def _advance(self, calculation: Calculation) -> bool:
        """Give a recorded calculation its Firework, behind that of its parent."""
        if calculation.state != CalculationState.SUBMITTING:
            return False
        after = None
        if calculation.parent is not None:
            parent = calculations.load(calculation.parent)
            if self._advance(parent):  # a crash or a retry left it behind
                parent = calculations.load(calculation.parent)
            if parent.state == CalculationState.FAILED:
                return fail_by_parent(calculation, parent)
            after = parent.fw_id if parent.state == CalculationState.SUBMITTED else None
        name = f"{calculation.formula} {calculation.task} {calculation.level}"
        fw_id = add_firework(self.pad, self._firework_spec(calculation), name, after=after)
        return calculations.advance(
            calculation.hash, CalculationState.SUBMITTING, CalculationState.SUBMITTED, fw_id=fw_id
        )

    def _firework_spec(self, calculation: Calculation) -> dict[str, Any]:
        info = calculation.info
        settings = dict(calculation.settings)
        asked = info.get("changes")
        rungs = [asked] if asked else ladder(calculation.code, settings, self.settings.max_attempts)
        timeout = float(info.get("timeout_seconds", self.settings.timeout_seconds))
        return {
            "calculation": job(calculation),
            "hash": calculation.hash,
            "code": calculation.code,
            "input": {
                "task": calculation.task,
                "options": calculation.options,
                "structure": calculation.structure,
                "settings": settings,
                "molecule": bool(info.get("molecule", False)),
            },
            "parent": calculation.parent,
            "ladder": rungs,
            "restart": leaves_restart_files(calculation.kind, calculation.task),
            "timeout_seconds": timeout,
            "nice": self.settings.nice,
            "cores": self.backend.cores,
            "ping_seconds": self.settings.ping_seconds,
            "lost_seconds": self.settings.lost_seconds,
            "max_launches": self.settings.max_launches,
            "_category": category(calculation.task),
            "_queueadapter": {"walltime": walltime(timeout * len(rungs))},
            "_add_launchpad_and_fw_id": True,
        }

    def _fail(self, candidate: Candidate, message: str) -> None:
        candidates.transition(
            candidate.id,
            source=State.SELECTED,
            to=State.FAILED,
            token=candidate.token,
            agent=AGENT,
            reason=f"dft: {message}",
        )


def fail_by_parent(calculation: Calculation, parent: Calculation) -> bool:
    """Give a calculation up whose parent failed.

    Returns:
        Whether this call did it.
    """
    message = f"the {parent.task} it starts from failed: {parent.error}"
    failure = {"kind": BY_PARENT, "message": message, "log_tail": ""}
    return calculations.advance(
        calculation.hash,
        CalculationState(calculation.state),
        CalculationState.FAILED,
        error=f"{BY_PARENT}: {message}",
        info={**calculation.info, "failure": failure},
    )


def crystal_of(candidate: Candidate) -> dict[str, Any]:
    """Return the crystal that DFT judges: relaxed, or as decoded where it was not relaxed."""
    relaxed: dict[str, Any] | None = (candidate.relaxation or {}).get("structure")
    return relaxed or dict(candidate.structure)
