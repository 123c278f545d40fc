"""Surrogate-assisted evolution of codes: the product's own search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agents.propose.acquisition import acquisition
from agents.propose.chemistry import CodeReader, Reading
from agents.propose.local_moves import LocalMoves
from agents.propose.moves import Variation, vary
from agents.propose.objectives import front_numbers
from agents.propose.proposer import Draft, Proposer, Result
from agents.propose.random_search import prior_of
from agents.propose.seeds import EpisodeSeed
from agents.propose.settings import EvolutionSettings
from agents.propose.space import SearchSpace, as_points
from model.metrics.charge_balance import Counts

if TYPE_CHECKING:
    from model.codes import CrystalCodes
    from model.generator import Generator

_ROUNDS = 8
"""How often more children are made for a generation that is not yet full."""
_PRIOR_DRAWS = 64
"""Fewest draws of the prior that tokens are taken from in a generation."""
_LABEL_CEILING = 2.0
"""Fitness above the threshold by more than this is equally hopeless to the surrogate (eV/atom)."""


class EvolutionProposer(Proposer):
    """Evolves whole tokens of distinct hits, and asks a surrogate which children are worth it.

    The first generation comes from the prior. Later ones are chosen from a pool of children: some
    are new draws of the prior, most come from parents by exchanging tokens with other parents,
    training crystals and draws of the prior; some also move in the local codes. A child is not
    evaluated when its formula was (or its codes were), when SMACT finds no charge balance, or when
    atoms overlap. What is left is ranked by the surrogate, which is fitted again to everything
    told, before each generation.

    Nothing here is uniform: uniform genes leave what the decoder has learned.
    """

    kind = "code_evolution"

    def __init__(
        self,
        space: SearchSpace,
        seed: EpisodeSeed,
        settings: EvolutionSettings,
        generator: Generator,
    ) -> None:
        """Start an episode.

        Raises:
            MissingPrior: The settings need a prior that the generator has not.
        """
        super().__init__(space, seed, generations=settings.generations, max_redraws=0)
        self.settings = settings
        self.generator = generator
        self.reader = CodeReader(generator)
        self.variation = Variation(
            crossover=settings.crossover,
            token=settings.token_mutation,
            crystal=settings.crystal_mutation,
            whole_tokens=settings.whole_tokens,
        )
        if settings.prior or settings.initial == "prior" or settings.local_moves:
            prior_of(generator)  # refuses a checkpoint that has none
        self.local_moves = (
            LocalMoves(
                prior_of(generator), generator.bank, space.base, max_atoms=settings.max_atoms
            )
            if settings.local_moves
            else None
        )
        self._ancestry: dict[CrystalCodes, tuple[str, ...]] = {}  # of the generation last drawn

    def _draw(self, generation: int, rng: np.random.Generator) -> list[Draft]:
        own = [result for told in self.told for result in told]
        known = [*self.space.earlier, *own]
        self._ancestry = {}
        parents = self._parents(own)
        worth = self._worth(known, seed=int(rng.integers(2**31)))

        def make(n: int) -> list[CrystalCodes]:
            return self._children(parents, n, rng) if parents else self._initial(n, rng)

        chosen = self._choose(make, worth, known)
        return [Draft(codes, parents=self._ancestry.get(codes, ())) for codes in chosen]

    def _parents(self, results: Sequence[Result]) -> list[CrystalCodes]:
        """Return the best crystals, one for each formula where the settings say so.

        The best are those of the first Pareto fronts, by fitness within a front.
        """
        if not results:
            return []
        fronts = front_numbers(np.array([result.goals for result in results])).tolist()
        order = sorted(range(len(results)), key=lambda i: (fronts[i], results[i].fitness))
        ranked = [results[i] for i in order]
        if not self.settings.archive:
            return [result.codes for result in ranked[: self.settings.parents]]
        readings = self.reader.read([result.codes for result in ranked])
        best: dict[Counts, CrystalCodes] = {}
        for result, reading in zip(ranked, readings, strict=True):
            best.setdefault(reading.counts, result.codes)
        return list(best.values())[: self.settings.parents]

    def _initial(self, n: int, rng: np.random.Generator) -> list[CrystalCodes]:
        base = self.space.base
        if self.settings.initial == "prior":
            return self._prior_draws(n, rng)
        draw = self.space.recombined if self.settings.initial == "donor" else self.space.uniform
        return base.with_many_global_genes(as_points(draw(rng, n)))

    def _prior_draws(self, n: int, rng: np.random.Generator) -> list[CrystalCodes]:
        seed = int(rng.integers(2**31))
        return prior_of(self.generator).sample_global(self.space.base, n, seed=seed) if n else []

    def _children(
        self, parents: Sequence[CrystalCodes], n: int, rng: np.random.Generator
    ) -> list[CrystalCodes]:
        sources: list[NDArray[np.int64]] = [self.space.donors]
        learned = self._learned()
        if len(learned):
            sources.append(learned)
        fresh: list[CrystalCodes] = []
        if self.settings.prior:
            drawn = self._prior_draws(max(_PRIOR_DRAWS, round(self.settings.fresh * n)), rng)
            sources.append(np.array([codes.global_genes for codes in drawn]))
            fresh = drawn[: round(self.settings.fresh * n)]
        made = vary(parents, sources, n - len(fresh), self.variation, rng)
        children = [child.codes for child in made]
        if self.local_moves is not None:
            children = self.local_moves.vary(children, self.settings.local_moves, rng)
        ids = {result.codes: result.candidate_id for told in self.told for result in told}
        self._ancestry.update(dict.fromkeys(fresh, ()))
        for codes, child in zip(children, made, strict=True):
            given = tuple(dict.fromkeys(ids[parents[place]] for place in child.parents))
            self._ancestry.setdefault(codes, given)
        return fresh + children

    def _learned(self) -> NDArray[np.int64]:
        """Return the global genes (D, G) of earlier hits of the campaign that fit on the base."""
        base, threshold = self.space.base, self.settings.threshold
        return np.array(
            [
                result.genes
                for result in self.space.earlier
                if result.fitness < threshold and result.codes.n_species == base.n_species
            ],
            dtype=np.int64,
        )

    def _worth(
        self, results: Sequence[Result], seed: int
    ) -> Callable[[Sequence[CrystalCodes]], NDArray[np.float64]] | None:
        """Return what ranks children; None without objectives before there are enough labels."""
        settings, objectives = self.settings, self.space.objectives
        newest = results[-settings.max_labels :]
        if not settings.surrogate or len(newest) < settings.min_labels:
            return None if objectives is None else self._desirability
        from agents.propose.surrogate import CodeSurrogate

        surrogate = CodeSurrogate(self.generator, seed=seed)
        ceiling = settings.threshold + _LABEL_CEILING
        values = np.minimum([result.fitness for result in newest], ceiling)
        surrogate.fit([result.codes for result in newest], values)

        def worth(codes: Sequence[CrystalCodes]) -> NDArray[np.float64]:
            mean, std = surrogate.predict(codes)
            expected = acquisition(mean, std, settings.threshold, settings.acquisition)
            return expected if objectives is None else expected * self._desirability(codes)

        return worth

    def _desirability(self, codes: Sequence[CrystalCodes]) -> NDArray[np.float64]:
        """Return how well codes (B,) meet the objectives that are known before an evaluation."""
        objectives = self.space.objectives
        assert objectives is not None
        formulas = [reading.formula for reading in self.reader.read(codes)]
        return objectives.desirability(objectives(codes, formulas))

    def _choose(
        self,
        make: Callable[[int], list[CrystalCodes]],
        worth: Callable[[Sequence[CrystalCodes]], NDArray[np.float64]] | None,
        results: Sequence[Result],
    ) -> list[CrystalCodes]:
        """Fill a generation with the most promising children that are worth an evaluation.

        More are made while there are too few for a generation; where all formulas in reach are
        used up, other crystals of known formulas fill it.
        """
        batch, distinct = self.settings.batch, self.settings.distinct
        told = [result.codes for result in results]
        known = set(told)
        paid = {r.counts for r in self.reader.read(told)} if distinct == "formula" else set()
        new: list[CrystalCodes] = []
        repeated: list[CrystalCodes] = []
        wanted = batch * (1 if worth is None else self.settings.pool)
        for _ in range(_ROUNDS):
            children = make(wanted)
            if distinct != "off":
                children = [codes for codes in dict.fromkeys(children) if codes not in known]
                known.update(children)
            for codes, reading in zip(children, self.reader.read(children), strict=True):
                if self._possible(reading):
                    (repeated if reading.counts in paid else new).append(codes)
            if self._distinct(new) >= batch:
                return self._best(new, worth)
            wanted = max(batch, wanted // 4)
        chosen = self._best(new, worth)
        return [*chosen, *repeated[: batch - len(chosen)]]

    def _distinct(self, pool: Sequence[CrystalCodes]) -> int:
        """Return for how many evaluations a pool suffices."""
        if self.settings.distinct != "formula":
            return len(pool)
        return len({reading.counts for reading in self.reader.read(pool)})

    def _possible(self, reading: Reading) -> bool:
        """Say whether a child has its atoms apart and a composition that SMACT accepts."""
        apart = reading.shortest >= self.settings.min_distance
        return apart and reading.balanced(self.settings.charge)

    def _best(
        self,
        pool: Sequence[CrystalCodes],
        worth: Callable[[Sequence[CrystalCodes]], NDArray[np.float64]] | None,
    ) -> list[CrystalCodes]:
        """Return up to a batch of the pool, the best first, one for each formula where asked."""
        ranked = list(pool)
        if worth is not None and pool:
            ranked = [pool[i] for i in np.argsort(-worth(pool), kind="stable")]
        if self.settings.distinct == "formula":
            best: dict[Counts, CrystalCodes] = {}
            for codes, reading in zip(ranked, self.reader.read(ranked), strict=True):
                best.setdefault(reading.counts, codes)
            ranked = list(best.values())
        return ranked[: self.settings.batch]
