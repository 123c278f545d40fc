"""The stage that places screened candidates relative to the hull, before any is chosen for DFT."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from agents.prediction import Prediction
from agents.relax.hull import energy_above_hull
from agents.relax.hull_settings import HullSettings
from agents.relax.phases import Geometry, HullRefused, Level, criterion
from agents.relax.phases_evaluation import CompetingPhases
from agents.stage import Outcome, Stage
from db.crystals import record_to_structure
from db.states import State

if TYPE_CHECKING:
    from pymatgen.core import Composition

    from db.documents import Candidate


class HullStage(Stage):
    """Distance to the hull of every screened candidate: SCREENED stays SCREENED.

    It is the work of the workers that relax, because phases that are met for the first time are
    relaxed. A hull that would be wrong is refused and the reason recorded; the candidate lives.
    With ``energy_above_hull_max`` a candidate further above is rejected ("energy_above_hull").
    """

    name = "hull"
    agent = "hull"
    takes = State.SCREENED
    lacks = "hull.level"
    batch = 1

    def __init__(
        self,
        phases: CompetingPhases,
        settings: HullSettings,
        *,
        lease_seconds: int = 300,
        out_of_domain: tuple[str, ...] = (),
    ) -> None:
        """Take the campaign's competing phases.

        Args:
            phases: Relaxed phases of the reference collection.
            settings: Limits and the rule.
            lease_seconds: How long a lease lasts without renewal.
            out_of_domain: Why the potential was not made for the candidates
                (`agents.prediction.Prediction`).
        """
        self.phases = phases
        self.settings = settings
        self.lease_seconds = lease_seconds
        self.out_of_domain = out_of_domain

    def process(self, candidates: Sequence[Candidate]) -> Iterator[Outcome]:
        """See `Stage.process`."""
        for candidate in candidates:
            yield self._process_one(candidate)

    def _process_one(self, candidate: Candidate) -> Outcome:
        started = time.monotonic()
        relaxation = candidate.relaxation
        composition = record_to_structure(relaxation["structure"]).composition
        hull = {
            "reference": self.phases.store.reference,
            "settings": self.settings.rules(),
            **self._levels(),
        }
        try:
            hull |= self._place(composition, relaxation)
        except HullRefused as refusal:
            hull["refused"] = {"reason": refusal.reason, "detail": str(refusal)}
        hull["seconds"] = time.monotonic() - started
        return self._outcome(candidate.id, hull)

    def _place(self, composition: Composition, relaxation: dict[str, Any]) -> dict[str, Any]:
        """Return the distance and what it was measured from.

        Raises:
            HullRefused: A phase lacks an energy, there are too many, or levels differ.
        """
        system = composition.chemical_system
        entries = self.phases.entries_of(system)
        deciding = self.phases.phases_for(composition)
        level = Level(
            relaxation["level"],
            relaxation["reference_hash"],
            criterion(Geometry.RELAXED, relaxation["settings"]),
        )
        result = energy_above_hull(
            composition, relaxation["formation_energy_per_atom"], deciding, level=level
        )
        return {
            **result.record(),
            "n_phases": len(entries),
            "n_relaxed": sum(not phase.id.startswith("element:") for phase in deciding),
            "n_left_out": self.phases.left_out(system),
        }

    def _outcome(self, candidate_id: str, hull: dict[str, Any]) -> Outcome:
        inputs = {
            "potential": self.phases.level.potential,
            "references": self.phases.level.references,
            "reference_collection": self.phases.store.reference,
        }
        distance, most = hull.get("energy_above_hull"), self.settings.energy_above_hull_max
        predictions = [] if distance is None else [self._prediction(distance)]
        if distance is not None and most is not None and distance > most:
            return Outcome(
                candidate_id,
                State.REJECTED,
                {"hull": hull},
                predictions=predictions,
                reason="energy_above_hull",
                detail={"energy_above_hull": distance, "max": most},
                inputs=inputs,
            )
        return Outcome(
            candidate_id, State.SCREENED, {"hull": hull}, predictions=predictions, inputs=inputs
        )

    def _levels(self) -> dict[str, Any]:
        level = self.phases.level
        return {
            "level": level.potential,
            "references": level.references,
            "criterion": level.criterion,
        }

    def _prediction(self, distance: float) -> dict[str, Any]:
        return Prediction(
            property="energy_above_hull",
            value=distance,
            unit="eV/atom",
            model=self.phases.potential.name,
            version=self.phases.potential.version,
            level=self.phases.level.potential,
            in_domain=not self.out_of_domain,
            on="relaxed",
            out_of_domain=self.out_of_domain,
        ).record()
