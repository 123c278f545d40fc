"""The two stages of the relaxation agent: single points of decoded crystals, and relaxations.

Each candidate gets an outcome of its own: a crystal that cannot be computed is rejected (a rule) or
failed (an error of the library), and never takes its batch with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agents.prediction import Prediction
from agents.relax.agreement import SecondPotential, agreement
from agents.relax.batch import CRYSTAL_ERRORS, relaxations
from agents.relax.potential import Potential, PotentialResult
from agents.relax.references import ElementalReferences
from agents.relax.relaxation import Relaxation, Stop, finite_or_none
from agents.relax.rules import (
    Verdict,
    broken_rule,
    exploited,
    judge_relaxation,
    out_of_domain,
)
from agents.relax.settings import RelaxSettings
from agents.stage import Outcome, Stage
from db.crystals import record_to_structure, structure_to_record
from db.states import State

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from agents.relax.single_point_hulls import SinglePointHulls
    from db.documents import Candidate


class _PotentialStage(Stage):
    """What both stages share: potential, references and the records made from them."""

    agent = "relax"
    on = "decoded"

    def __init__(
        self, potential: Potential, references: ElementalReferences, settings: RelaxSettings
    ) -> None:
        """Prepare a stage.

        Raises:
            ReferenceMismatch: the references belong to another potential or version.
        """
        references.require(potential)
        self.potential = potential
        self.references = references
        self.settings = settings
        self.lease_seconds = settings.lease_seconds

    def _inputs(self) -> dict[str, Any]:
        return {"potential": self.potential.level, "references": self.references.digest}

    def _labels(self) -> dict[str, Any]:
        return {
            "potential": self.potential.name,
            "version": self.potential.version,
            "level": self.potential.level,
            "reference_hash": self.references.digest,
        }

    def _reject(
        self, candidate_id: str, verdict: Verdict, updates: Mapping[str, Any] | None = None
    ) -> Outcome:
        return Outcome(
            candidate_id,
            State.REJECTED,
            updates=dict(updates or {}),
            reason=verdict.reason,
            detail=verdict.detail,
            inputs=self._inputs(),
        )

    def _fail(self, candidate_id: str, error: Exception, level: str | None = None) -> Outcome:
        return Outcome(
            candidate_id,
            State.FAILED,
            reason=f"{level or self.potential.level}: {type(error).__name__}: {error}",
            inputs=self._inputs(),
        )

    def _prediction(self, formation_energy: float) -> dict[str, Any]:
        reasons = out_of_domain(self.potential, self.settings)
        return Prediction(
            property="formation_energy_per_atom",
            value=formation_energy,
            unit="eV/atom",
            model=self.potential.name,
            version=self.potential.version,
            level=self.potential.level,
            in_domain=not reasons,
            on=self.on,
            out_of_domain=reasons,
        ).record()

    def _formation_energy(self, structure: Structure, energy: float) -> float:
        return self.references.formation_energy_per_atom(structure.composition, energy)

    def _open(self, candidate: Candidate) -> Structure | Verdict:
        """Return the decoded crystal, or the rule it breaks before the potential sees it."""
        if not candidate.structure:
            return Verdict("invalid_decode", {})
        try:
            structure = record_to_structure(candidate.structure)
            broken = broken_rule(structure, self.potential, self.references, self.settings)
        except CRYSTAL_ERRORS as error:
            return Verdict("invalid_decode", {"error": f"{type(error).__name__}: {error}"})
        return broken or structure

    def _open_all(
        self, candidates: Sequence[Candidate], opened: list[tuple[str, Structure]]
    ) -> Iterator[Outcome]:
        """Reject what breaks a rule, and add the crystals of the others to ``opened``, by id."""
        for candidate in candidates:
            structure = self._open(candidate)
            if isinstance(structure, Verdict):
                yield self._reject(candidate.id, structure)
            else:
                opened.append((candidate.id, structure))


class EvaluateStage(_PotentialStage):
    """Single point of every decoded crystal, in whole batches: PROPOSED → EVALUATED.

    Rejects what is no crystal ("invalid_decode", "min_distance", "volume", "unsupported_elements")
    before the potential is asked, and "not_finite" and "potential_exploited" afterwards. A positive
    formation energy is no reason: relaxation usually turns it negative.
    """

    name = "evaluate"
    takes = State.PROPOSED
    on = "decoded"

    def __init__(
        self,
        potential: Potential,
        references: ElementalReferences,
        settings: RelaxSettings,
        hulls: SinglePointHulls | None = None,
    ) -> None:
        """Prepare the stage; with hulls, the distance to them is a result too.

        Raises:
            ReferenceMismatch: the references belong to another potential or version.
        """
        super().__init__(potential, references, settings)
        self.batch = settings.evaluate_batch
        self.hulls = hulls

    def process(self, candidates: Sequence[Candidate]) -> Iterator[Outcome]:
        """See `Stage.process`."""
        opened: list[tuple[str, Structure]] = []
        yield from self._open_all(candidates, opened)
        for (candidate_id, structure), result in zip(opened, self._evaluate(opened)):
            if isinstance(result, Exception):
                yield self._fail(candidate_id, result)
            else:
                yield self._judge(candidate_id, structure, result)

    def _evaluate(
        self, opened: Sequence[tuple[str, Structure]]
    ) -> Iterator[PotentialResult | Exception]:
        """Yield a result or its error for every crystal, one batch as long as none fails."""
        structures = [structure for _, structure in opened]
        if not structures:
            return
        try:
            yield from self.potential.evaluate(structures)
            return
        except CRYSTAL_ERRORS as error:
            if len(structures) == 1:
                yield error
                return
        for structure in structures:  # alone, each failing one keeps its error to itself
            try:
                yield self.potential.evaluate([structure])[0]
            except CRYSTAL_ERRORS as error:
                yield error

    def _judge(self, candidate_id: str, structure: Structure, result: PotentialResult) -> Outcome:
        if not result.finite:
            return self._reject(candidate_id, Verdict("not_finite", {"energy": None}))
        formation_energy = self._formation_energy(structure, result.energy)
        evaluation = {
            "energy": result.energy,
            "formation_energy_per_atom": formation_energy,
            "max_force": result.max_force,
            "volume_per_atom": structure.volume / len(structure),
            **self._labels(),
        }
        if verdict := exploited(formation_energy, self.settings):
            return self._reject(candidate_id, verdict, {"evaluation": evaluation})
        if self.hulls is not None:
            above = self.hulls.above(structure.composition, formation_energy)
            evaluation["above_single_point_hull"] = above
        return Outcome(
            candidate_id,
            State.EVALUATED,
            updates={"evaluation": evaluation},
            predictions=[self._prediction(formation_energy)],
            inputs=self._inputs(),
        )


class RelaxStage(_PotentialStage):
    """Relaxation and acceptance, the leased batch together: RELAXING → RELAXED.

    Accepted is what ends with a small force on every atom, a small stress on the cell (where it is
    relaxed) and a formation energy in the window: for compounds E_f < `formation_energy_max`; for
    one element, of which every allotrope has E_f >= 0, less than `elemental_max_above_reference`
    above the reference phase. Where a second potential is given, it must agree on the formation
    energy ("potential_disagreement"). The relaxation is recorded either way. The optimiser need not
    have converged, as in the paper; forces and stress decide.
    """

    name = "relax"
    takes = State.RELAXING
    on = "relaxed"

    def __init__(
        self,
        potential: Potential,
        references: ElementalReferences,
        settings: RelaxSettings,
        second: SecondPotential | None = None,
    ) -> None:
        super().__init__(potential, references, settings)
        self.batch = settings.relax_batch
        self.second = second

    def process(self, candidates: Sequence[Candidate]) -> Iterator[Outcome]:
        """See `Stage.process`."""
        opened: list[tuple[str, Structure]] = []
        yield from self._open_all(candidates, opened)
        crystals = [structure for _, structure in opened]
        for index, found in relaxations(crystals, self.potential, self.settings):
            candidate_id, _ = opened[index]
            if isinstance(found, Exception):
                yield self._fail(candidate_id, found)
            else:
                yield self._judge(candidate_id, found)

    def _judge(self, candidate_id: str, relaxation: Relaxation) -> Outcome:
        formation_energy = self._formation_energy(relaxation.structure, relaxation.energy)
        updates = {"relaxation": self._record(relaxation, formation_energy)}
        verdict = judge_relaxation(
            relaxation, formation_energy, self.potential, self.references, self.settings
        )
        if verdict is None and self.second is not None:
            try:
                ((opinion, verdict),) = agreement(
                    [relaxation.structure], [formation_energy], self.second
                )
            except CRYSTAL_ERRORS as error:
                return self._fail(candidate_id, error, self.second.potential.level)
            updates["relaxation"]["second_potential"] = opinion.record()
        if verdict:
            return self._reject(candidate_id, verdict, updates)
        return Outcome(
            candidate_id,
            State.RELAXED,
            updates=updates,
            predictions=[self._prediction(formation_energy)],
            inputs=self._inputs(),
        )

    def _record(self, relaxation: Relaxation, formation_energy: float) -> dict[str, Any]:
        finite = relaxation.stop is not Stop.NOT_FINITE
        return {
            "structure": structure_to_record(relaxation.structure) if finite else None,
            **relaxation.numbers(),
            "formation_energy_per_atom": finite_or_none(formation_energy),
            "optimizer": self.settings.optimizer,
            "settings": self.settings.relaxation_record(),
            **self._labels(),
        }
