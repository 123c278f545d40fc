"""Everything a candidate of a campaign is compared with, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agents.screen.duplicates import (
    Comparison,
    Siblings,
    WaitingOf,
    compare_with_campaign,
    compare_with_reference,
    database_siblings,
    database_waiting,
)
from agents.screen.references import Reference
from agents.screen.settings import ScreenSettings

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from db.documents import Candidate

HELD_OUT = "val"
"""Role of crystals in a bank that its generator was not trained on: to match one is to rediscover
it."""


@dataclass(frozen=True)
class Duplicates:
    """What one candidate was compared with.

    Attributes:
        training: The generator's bank.
        campaign: Candidates that passed the screens.
        references: Collections of known crystals.
    """

    training: Comparison
    campaign: Comparison
    references: tuple[Comparison, ...]

    @property
    def trained_on(self) -> bool:
        """Whether the generator was trained on it."""
        return any(match.label != HELD_OUT for match in self.training.matches)

    def record(self) -> dict[str, Any]:
        """Return plain JSON; ``rediscovered`` is what is known, but was not trained on."""
        return {
            "training": self._of(self.training),
            "campaign": self.campaign.record(),
            "references": [self._of(one) for one in self.references],
        }

    def _of(self, comparison: Comparison) -> dict[str, Any]:
        rediscovered = bool(comparison.matches) and not self.trained_on
        return {**comparison.record(), "rediscovered": rediscovered}

    def reason(self, settings: ScreenSettings) -> tuple[str | None, dict[str, Any]]:
        """Return the first reason to reject, with its numbers."""
        if settings.reject_training_duplicates and self.trained_on:
            return "duplicate_training", self.training.record()
        for one in self.references if settings.reject_reference_duplicates else ():
            if one.matches:
                return "duplicate_reference", one.record()
        if settings.reject_campaign_duplicates and self.campaign.matches:
            return "duplicate_campaign", self.campaign.record()
        return None, {}


class DuplicateSearch:
    """Compares candidates with the training set, with references and with their campaign."""

    def __init__(
        self,
        settings: ScreenSettings,
        training: Reference,
        references: Sequence[Reference] = (),
        siblings: Siblings = database_siblings,
        waiting: WaitingOf = database_waiting,
    ) -> None:
        """Take what candidates are compared with.

        Args:
            settings: Tolerances and rules.
            training: Training crystals; what slabs get as their vacuum holds for the campaign, too.
            references: Collections of known crystals.
            siblings: Reads other candidates of the campaign with one formula.
            waiting: Reads those that are not through the screens.
        """
        self.settings = settings
        self.training = training
        self.references = tuple(references)
        self.siblings = siblings
        self.waiting = waiting

    def blocked(self, candidates: Sequence[Candidate]) -> set[str]:
        """Return which candidates must wait for others that were proposed before them.

        Args:
            candidates: Of one campaign; they are judged one after the other, so that only others
                can block them.

        Returns:
            Ids; see `agents.screen.duplicates`.
        """
        formulas = sorted({one.formula for one in candidates if one.formula})
        if not formulas:
            return set()
        own = {one.id for one in candidates}
        first: dict[str, int] = {}
        for other in self.waiting(candidates[0].campaign, formulas):
            if other.id not in own:
                first[other.formula] = min(other.seq, first.get(other.formula, other.seq))
        return {one.id for one in candidates if one.seq > first.get(one.formula, one.seq)}

    def find(self, candidate: Candidate, structure: Structure) -> Duplicates:
        """Compare one candidate with everything.

        Args:
            candidate: The candidate; nothing blocks it any more.
            structure: Its relaxed crystal.
        """
        settings, vacuum = self.settings, self.training.vacuum
        read = self.siblings(candidate.campaign, structure.composition.reduced_formula)
        others = [sibling for sibling in read if sibling.id != candidate.id]
        return Duplicates(
            compare_with_reference(structure, self.training, settings.matcher),
            compare_with_campaign(structure, others, settings.matcher, vacuum),
            tuple(
                compare_with_reference(structure, one, settings.matcher) for one in self.references
            ),
        )

    def inputs(self) -> dict[str, Any]:
        """Name the collections with their checksums, for the history of a candidate."""
        inputs: dict[str, Any] = {"training_reference": self.training.name}
        if self.references:
            inputs["references"] = [f"{one.name}@{one.checksum}" for one in self.references]
        return inputs
