"""Surrogate-assisted evolution of codes: the product's own search."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agents.propose.acquisition import acquisition
from agents.propose.chemistry import CodeReader, balanced
from agents.propose.local_moves import LocalMoves
from agents.propose.moves import Variation, vary
from agents.propose.proposer import Draft, Proposer, Result
from agents.propose.random_search import prior_of
from agents.propose.seeds import EpisodeSeed
from agents.propose.settings import EvolutionSettings
from agents.propose.space import SearchSpace

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
        self.local_moves = LocalMoves(prior_of(generator)) if settings.local_moves else None

    def _draw(self, generation: int, rng: np.random.Generator) -> list[Draft]:
        results = [result for told in self.told for result in told]
        parents = self._parents(results)
        worth = self._worth(results, seed=int(rng.integers(2**31)))

        def make(n: int) -> list[CrystalCodes]:
            return self._children(parents, n, rng) if parents else self._initial(n, rng)

        return [Draft(codes) for codes in self._choose(make, worth, results)]

    def _parents(self, results: Sequence[Result]) -> list[CrystalCodes]:
        """Return the best crystals, one for each formula where the settings say so."""
        ranked = sorted(results, key=lambda result: result.fitness)
        if not self.settings.archive:
            return [result.codes for result in ranked[: self.settings.parents]]
        readings = self.reader.read([result.codes for result in ranked])
        best: dict[str, CrystalCodes] = {}
        for result, reading in zip(ranked, readings, strict=True):
            best.setdefault(reading.formula, result.codes)
        return list(best.values())[: self.settings.parents]

    def _initial(self, n: int, rng: np.random.Generator) -> list[CrystalCodes]:
        base = self.space.base
        if self.settings.initial == "prior":
            return self._prior_draws(n, rng)
        draw = self.space.recombined if self.settings.initial == "donor" else self.space.uniform
        return [base.with_global_genes(draw(rng)) for _ in range(n)]

    def _prior_draws(self, n: int, rng: np.random.Generator) -> list[CrystalCodes]:
        seed = int(rng.integers(2**31))
        return prior_of(self.generator).sample_global(self.space.base, n, seed=seed) if n else []

    def _children(
        self, parents: Sequence[CrystalCodes], n: int, rng: np.random.Generator
    ) -> list[CrystalCodes]:
        sources: list[NDArray[np.int64]] = [self.space.donors]
        fresh: list[CrystalCodes] = []
        if self.settings.prior:
            drawn = self._prior_draws(max(_PRIOR_DRAWS, round(self.settings.fresh * n)), rng)
            sources.append(np.array([codes.global_genes for codes in drawn]))
            fresh = drawn[: round(self.settings.fresh * n)]
        children = vary(parents, sources, n - len(fresh), self.variation, rng)
        if self.local_moves is not None:
            children = self.local_moves.vary(children, self.settings.local_moves, rng)
        return fresh + children

    def _worth(
        self, results: Sequence[Result], seed: int
    ) -> Callable[[Sequence[CrystalCodes]], NDArray[np.float64]] | None:
        """Return what ranks children, None before there are enough labels."""
        settings = self.settings
        newest = results[-settings.max_labels :]
        if not settings.surrogate or len(newest) < settings.min_labels:
            return None
        from agents.propose.surrogate import CodeSurrogate

        surrogate = CodeSurrogate(self.generator, seed=seed)
        ceiling = settings.threshold + _LABEL_CEILING
        values = np.minimum([result.fitness for result in newest], ceiling)
        surrogate.fit([result.codes for result in newest], values)

        def worth(codes: Sequence[CrystalCodes]) -> NDArray[np.float64]:
            mean, std = surrogate.predict(codes)
            return acquisition(mean, std, settings.threshold, settings.acquisition)

        return worth

    def _choose(
        self,
        make: Callable[[int], list[CrystalCodes]],
        worth: Callable[[Sequence[CrystalCodes]], NDArray[np.float64]] | None,
        results: Sequence[Result],
    ) -> list[CrystalCodes]:
        """Fill a generation with the most promising children that are worth an evaluation.

        Where all formulas in reach are used up, other crystals of known formulas fill it.
        """
        settings = self.settings
        known = [result.codes for result in results]
        formulas = {reading.formula for reading in self.reader.read(known)}
        codes_taken = set(known)
        spare: dict[CrystalCodes, None] = {}
        chosen: list[CrystalCodes] = []
        for _ in range(_ROUNDS):
            wanted = settings.batch - len(chosen)
            pool = make(wanted * (1 if worth is None else settings.pool))
            if settings.distinct != "off":
                pool = [codes for codes in dict.fromkeys(pool) if codes not in codes_taken]
            if worth is not None and pool:
                pool = [pool[i] for i in np.argsort(-worth(pool), kind="stable")]
            for codes, reading in zip(pool, self.reader.read(pool), strict=True):
                if settings.distinct == "formula" and reading.formula in formulas:
                    spare[codes] = None
                    continue
                if not reading.shortest >= settings.min_distance:
                    continue
                if not balanced(reading.formula, settings.charge):
                    continue
                formulas.add(reading.formula)
                codes_taken.add(codes)
                chosen.append(codes)
                if len(chosen) == settings.batch:
                    return chosen
        return chosen + self._sound(spare, codes_taken)[: settings.batch - len(chosen)]

    def _sound(
        self, spare: Collection[CrystalCodes], taken: Collection[CrystalCodes]
    ) -> list[CrystalCodes]:
        """Return the spare children that could be evaluated."""
        left = [codes for codes in spare if codes not in taken]
        return [
            codes
            for codes, reading in zip(left, self.reader.read(left), strict=True)
            if reading.shortest >= self.settings.min_distance
            and balanced(reading.formula, self.settings.charge)
        ]
