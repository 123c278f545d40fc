"""A proposer: hill climbing. Every child is the best crystal so far with one gene from a donor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from agents.propose.brought import BroughtSettings
from agents.propose.proposer import GeneProposer
from agents.propose.seeds import EpisodeSeed
from agents.propose.space import Genes, SearchSpace, as_points

if TYPE_CHECKING:
    from model.generator import Generator


class HillClimbingSettings(BroughtSettings):
    """What a campaign file may say, checked before anything starts.

    Args:
        batch: Proposals of one generation.
        genes: How many genes of the best crystal are exchanged at once.
    """

    kind: Literal["hill_climbing"] = "hill_climbing"
    batch: int = Field(default=16, ge=1, le=4096)
    genes: int = Field(default=1, ge=1)

    def build(
        self, space: SearchSpace, seed: EpisodeSeed, *, max_redraws: int, generator: Generator
    ) -> HillClimbing:
        """See `BroughtSettings.build`."""
        return HillClimbing(space, seed, self, max_redraws=max_redraws)


class HillClimbing(GeneProposer):
    """Starts with recombined training crystals, then exchanges genes of the best."""

    kind = "hill_climbing"

    def __init__(
        self,
        space: SearchSpace,
        seed: EpisodeSeed,
        settings: HillClimbingSettings,
        *,
        max_redraws: int,
    ) -> None:
        super().__init__(space, seed, generations=settings.generations, max_redraws=max_redraws)
        self.settings = settings

    def _draw_genes(self, generation: int, rng: np.random.Generator) -> list[Genes]:
        """See `Proposer._draw`: nothing but the space, what was told, and `rng`."""
        known = [result for generation in self.told for result in generation]
        best = min(known, key=lambda result: result.fitness, default=None)
        if best is None:
            return self._distinct(
                lambda n: as_points(self.space.recombined(rng, n)), self.settings.batch, rng
            )
        taken = [result.genes for result in known]
        return self._distinct(
            lambda n: self._neighbours(best.genes, n, rng), self.settings.batch, rng, taken
        )

    def _neighbours(self, best: Genes, n: int, rng: np.random.Generator) -> list[Genes]:
        children = np.tile(np.array(best), (n, 1))
        donors = self.space.recombined(rng, n)
        for child, donor in zip(children, donors):
            places = rng.permutation(len(best))[: self.settings.genes]
            child[places] = donor[places]
        return as_points(children)
