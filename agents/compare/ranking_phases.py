"""The competing phases that candidates are ranked by before anything is relaxed."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from agents.relax.phases import Phases, elements_of

if TYPE_CHECKING:
    from agents.relax.phases import Phase


class RankingPhases(Phases):
    """Single points of all small cells, and of the large ones of elements and binary compounds.

    Large cells decide about many hulls (docs/hull.md), but those of three and more elements are too
    many to evaluate for every candidate that is only ranked. A hull without some of its phases is
    too high, so a distance to it is a lower bound. Verdicts are given with all phases.
    """

    def __init__(self, small: Phases, large: Phases) -> None:
        """Take the phases of small cells, and those of all cells at the same level."""
        self.level = small.level
        self._small, self._large = small, large

    def phases_of(self, chemical_system: str) -> list[Phase]:
        """See `Phases.phases_of`."""
        elements = elements_of(chemical_system)
        phases = {phase.id: phase for phase in self._small.phases_of(chemical_system)}
        for pair in combinations(elements, 2):
            phases |= {phase.id: phase for phase in self._large.phases_of("-".join(pair))}
        return list(phases.values())
