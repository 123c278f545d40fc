"""The genetic algorithm of VQCrystal.

Source: Qiu et al., npj Comput. Mater. 11 (2025), doi 10.1038/s41524-025-01613-6, Methods:
population 64, 10 generations, the best 12 are parents of 63 children, the single best survives.
"""

from __future__ import annotations

import numpy as np

from agents.propose.proposer import GeneProposer, Result
from agents.propose.seeds import EpisodeSeed
from agents.propose.settings import GeneticSettings
from agents.propose.space import Genes, SearchSpace, as_genes


class GeneticProposer(GeneProposer):
    """Uniform crossover and random mutation of the best of the generation before.

    The first population is drawn uniformly at random, as in the paper, or from donors. Later ones
    hold the survivors first, then the children: each has two different parents out of the best
    ones, takes every gene from the second with the crossover's chance, and then has every gene
    redrawn with the mutation's chance, uniformly over the code's range (the old value included).
    Equal fitness is ranked in the order of the proposals.

    With `settings.distinct`, which is not the default, a child equal to another member of its
    generation is drawn again, so that every generation spends its evaluations; the paper does not
    say what it does there.
    """

    kind = "genetic"

    def __init__(
        self,
        space: SearchSpace,
        seed: EpisodeSeed,
        settings: GeneticSettings,
        *,
        max_redraws: int = 50,
    ) -> None:
        """Start an episode."""
        super().__init__(space, seed, generations=settings.generations, max_redraws=max_redraws)
        self.settings = settings

    def _draw_genes(self, generation: int, rng: np.random.Generator) -> list[Genes]:
        ranked = sorted(self.told[-1], key=lambda result: result.fitness) if generation else []
        if len(ranked) < 2:
            return self._initial(rng)
        parents = np.array([result.genes for result in ranked[: self.settings.parents]])
        survivors = self._survivors(ranked)
        size = self.settings.population - len(survivors)
        if not self.settings.distinct:
            return survivors + [self._child(parents, rng) for _ in range(size)]
        children = self._distinct(lambda: self._child(parents, rng), size, rng, taken=survivors)
        return survivors + children

    def _initial(self, rng: np.random.Generator) -> list[Genes]:
        draw = self.space.uniform if self.settings.initial == "random" else self.space.recombined
        if not self.settings.distinct:
            return [draw(rng) for _ in range(self.settings.population)]
        return self._distinct(lambda: draw(rng), self.settings.population, rng)

    def _survivors(self, ranked: list[Result]) -> list[Genes]:
        best = dict.fromkeys(result.genes for result in ranked)
        return list(best)[: self.settings.survivors]

    def _child(self, parents: np.ndarray, rng: np.random.Generator) -> Genes:
        """Cross two different parents and mutate; `parents` is (P, G)."""
        first, second = parents[rng.choice(len(parents), size=2, replace=False)]
        child = np.where(rng.random(len(first)) < self.settings.crossover, second, first)
        mutated = rng.random(len(first)) < self.settings.mutation
        return as_genes(np.where(mutated, rng.integers(0, self.space.sizes), child))
