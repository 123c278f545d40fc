"""Random search: the yardsticks every other proposer is measured against."""

from __future__ import annotations

import numpy as np

from agents.propose.proposer import GeneProposer
from agents.propose.seeds import EpisodeSeed
from agents.propose.settings import DonorSettings, RandomSettings
from agents.propose.space import Genes, SearchSpace


class RandomProposer(GeneProposer):
    """Draws every gene uniformly over its range; learns nothing."""

    kind = "random"

    def __init__(
        self,
        space: SearchSpace,
        seed: EpisodeSeed,
        settings: RandomSettings,
        *,
        max_redraws: int = 50,
    ) -> None:
        """Start an episode."""
        super().__init__(space, seed, generations=settings.generations, max_redraws=max_redraws)
        self.batch = settings.batch

    def _draw_genes(self, generation: int, rng: np.random.Generator) -> list[Genes]:
        return self._distinct(lambda: self.space.uniform(rng), self.batch, rng)


class DonorProposer(GeneProposer):
    """Recombines the genes of training crystals with as many species; learns nothing.

    It stays among the codes the decoder has seen, which alone is worth more than a genetic
    algorithm that does not: the honest yardstick.
    """

    kind = "donor"

    def __init__(
        self,
        space: SearchSpace,
        seed: EpisodeSeed,
        settings: DonorSettings,
        *,
        max_redraws: int = 50,
    ) -> None:
        """Start an episode."""
        super().__init__(space, seed, generations=settings.generations, max_redraws=max_redraws)
        self.batch = settings.batch

    def _draw_genes(self, generation: int, rng: np.random.Generator) -> list[Genes]:
        return self._distinct(lambda: self.space.recombined(rng), self.batch, rng)
