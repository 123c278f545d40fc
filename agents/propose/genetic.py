"""The genetic algorithm of VQCrystal.

Source: Qiu et al., npj Comput. Mater. 11 (2025), doi 10.1038/s41524-025-01613-6, Methods:
population 64, 10 generations, the best 12 are parents of 63 children, the single best survives.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agents.propose.proposer import GeneProposer, Result
from agents.propose.seeds import EpisodeSeed
from agents.propose.settings import GeneticSettings
from agents.propose.space import Genes, SearchSpace, as_points


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
        self._ancestry: dict[Genes, tuple[str, ...]] = {}  # of the generation last drawn

    def _draw_genes(self, generation: int, rng: np.random.Generator) -> list[Genes]:
        self._ancestry = {}
        ranked = sorted(self.told[-1], key=lambda result: result.fitness) if generation else []
        if len(ranked) < 2:
            return self._initial(rng)
        parents = ranked[: self.settings.parents]
        survivors = self._survivors(ranked)
        size = self.settings.population - len(survivors)
        if not self.settings.distinct:
            return survivors + self._children(parents, size, rng)
        children = self._distinct(
            lambda n: self._children(parents, n, rng), size, rng, taken=survivors
        )
        return survivors + children

    def _parents_of(self, point: Genes) -> tuple[str, ...]:
        return self._ancestry.get(point, ())

    def _children(self, parents: list[Result], n: int, rng: np.random.Generator) -> list[Genes]:
        """Make children and remember which parents each has genes of."""
        genes = np.array([parent.genes for parent in parents])
        children, givers = self.children(genes, n, rng)
        points = as_points(children)
        for point, pair in zip(points, givers):
            self._ancestry.setdefault(point, tuple(parents[i].candidate_id for i in pair))
        return points

    def _initial(self, rng: np.random.Generator) -> list[Genes]:
        draw = self.space.uniform if self.settings.initial == "random" else self.space.recombined
        if not self.settings.distinct:
            return as_points(draw(rng, self.settings.population))
        return self._distinct(lambda n: as_points(draw(rng, n)), self.settings.population, rng)

    def _survivors(self, ranked: list[Result]) -> list[Genes]:
        best = dict.fromkeys(result.genes for result in ranked)
        return list(best)[: self.settings.survivors]

    def children(
        self, parents: NDArray[np.int64], n: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], list[tuple[int, ...]]]:
        """Cross pairs of different parents and mutate.

        Args:
            parents: (P, G) global genes, at least two rows.
            n: Number of children.
            rng: Source of all draws.

        Returns:
            (n, G), and for each child the rows of the parents that it has a gene of, the first
            parent first.
        """
        sizes = np.array(self.space.sizes)
        first = rng.integers(len(parents), size=n)
        second = rng.integers(len(parents) - 1, size=n)
        second += second >= first
        crossed = rng.random((n, len(sizes))) < self.settings.crossover
        mutated = rng.random((n, len(sizes))) < self.settings.mutation
        drawn = rng.integers(0, sizes, size=(n, len(sizes)))
        children = np.where(mutated, drawn, np.where(crossed, parents[second], parents[first]))
        kept = np.stack([~crossed & ~mutated, crossed & ~mutated], axis=1)  # (n, 2, G)
        gave = np.asarray(kept.any(axis=2))
        pairs = np.stack([first, second], axis=1)
        givers = [tuple(pair[some].tolist()) for pair, some in zip(pairs, gave, strict=True)]
        return children, givers
