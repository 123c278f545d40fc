"""Random search: the yardsticks every other proposer is measured against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agents.propose.proposer import GeneProposer
from agents.propose.seeds import EpisodeSeed
from agents.propose.settings import DonorSettings, PriorSettings, RandomSettings
from agents.propose.space import Genes, SearchSpace, as_points

if TYPE_CHECKING:
    from model.generator import Generator
    from model.prior.code_prior import CodePrior


class MissingPrior(ValueError):
    """A proposer needs the prior of a checkpoint that has none."""


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
        return self._distinct(lambda n: as_points(self.space.uniform(rng, n)), self.batch, rng)


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
        return self._distinct(lambda n: as_points(self.space.recombined(rng, n)), self.batch, rng)


class PriorProposer(GeneProposer):
    """Draws the global genes from the generator's prior, given the base's atoms; learns nothing."""

    kind = "prior"

    def __init__(
        self,
        space: SearchSpace,
        seed: EpisodeSeed,
        settings: PriorSettings,
        generator: Generator,
        *,
        max_redraws: int = 50,
    ) -> None:
        """Start an episode.

        Raises:
            MissingPrior: The generator has no prior.
        """
        super().__init__(space, seed, generations=settings.generations, max_redraws=max_redraws)
        self.settings = settings
        self.prior = prior_of(generator)

    def _draw_genes(self, generation: int, rng: np.random.Generator) -> list[Genes]:
        def draw(n: int) -> list[Genes]:
            seed, temperature = int(rng.integers(2**31)), self.settings.temperature
            drawn = self.prior.sample_global(self.space.base, n, seed=seed, temperature=temperature)
            return [codes.global_genes for codes in drawn]

        return self._distinct(draw, self.settings.batch, rng)


def prior_of(generator: Generator) -> CodePrior:
    """Return the generator's prior.

    Raises:
        MissingPrior: The checkpoint has none.
    """
    if generator.prior is None:
        raise MissingPrior(
            f"the checkpoint {generator.name} has no prior over its codes: take another proposer, "
            "or train the checkpoint with a prior"
        )
    return generator.prior
