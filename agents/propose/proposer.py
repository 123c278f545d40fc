"""The interface of everything that decides which codes to decode next."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agents.propose.seeds import EpisodeSeed
from agents.propose.space import Genes, SearchSpace

if TYPE_CHECKING:
    from model.codes import CrystalCodes


@dataclass(frozen=True)
class Proposal:
    """One crystal to decode.

    Attributes:
        codes: The base crystal's local codes with new global genes.
        proposer: Kind of the proposer.
        base_id: Identifier of the base crystal.
        episode: Number of the episode in the campaign.
        generation: Number of the generation within its episode.
        slot: Place in the generation.
    """

    codes: CrystalCodes
    proposer: str
    base_id: str
    episode: int
    generation: int
    slot: int


@dataclass(frozen=True)
class Result:
    """What one proposal turned out to be worth.

    Attributes:
        candidate_id: The candidate it became.
        genes: Its global genes.
        fitness: Lower is better; always a finite number. A crystal that could not be decoded,
            was refused before its evaluation, or failed carries the campaign's penalty.
    """

    candidate_id: str
    genes: Genes
    fitness: float


class Proposer(ABC):
    """Searches the global genes around one base crystal for one episode.

    The life of a proposer: an *episode* starts with a base crystal, drawn from the code bank with
    the campaign's seed. The base's local codes are frozen; only the global genes are searched. In
    each generation `ask` is called once and returns the generation's proposals. They are decoded
    in one batch, become candidates, and are evaluated by workers somewhere else, in any order.
    Once *all* results of the generation are known, `tell` is called once with them, in the order
    of the proposals, and `ask` may be called for the next generation. After `generations`
    generations the episode is over and a new one starts with a new base.

    A proposer lives only as long as one such call of the loop. Whoever continues a campaign builds
    it again and tells it the recorded generations in order, after which it must ask exactly what
    the interrupted one would have asked. So it is a deterministic function of its space, its seed
    and the results told: it keeps no other state, reads no clock, and never touches the database.
    Two proposers of one campaign know nothing of each other; where both propose the same codes the
    campaign keeps one candidate and tells its result to both.

    Subclasses implement `_draw`, and set `kind`.

    Attributes:
        kind: Name of the method, as in the campaign's settings.
        space: What is searched.
        told: Results of the generations told so far.
        filled: Proposals of the last `ask` that were drawn uniformly among unseen points, because
            the method kept repeating itself.
    """

    kind: str

    def __init__(
        self, space: SearchSpace, seed: EpisodeSeed, *, generations: int, max_redraws: int
    ) -> None:
        """Start an episode.

        Args:
            space: What is searched.
            seed: Source of all randomness.
            generations: Generations of the episode.
            max_redraws: How often one repeated proposal is redrawn by the method itself.
        """
        self.space = space
        self.seed = seed
        self.generations = generations
        self.max_redraws = max_redraws
        self.told: list[tuple[Result, ...]] = []
        self.filled = 0

    @abstractmethod
    def _draw(self, generation: int, rng: np.random.Generator) -> list[Genes]:
        """Return the genes of one generation, in order.

        Called by `ask` once per generation, when `told` holds exactly the generations before it.
        May use nothing but `space`, `told` and `rng`, and changes none of them but `rng`.
        """

    def ask(self, generation: int) -> list[Proposal]:
        """Return the proposals of a generation.

        Args:
            generation: Number of the generation; all earlier ones must have been told.

        Raises:
            ValueError: The episode is over, or another generation is due.
        """
        if generation != len(self.told) or generation >= self.generations:
            raise ValueError(
                f"{self.kind}: generation {generation} of {self.generations} was asked, "
                f"but {len(self.told)} were told"
            )
        self.filled = 0
        genes = self._draw(generation, self.seed.generation(generation))
        return [
            Proposal(
                codes=self.space.base.with_global_genes(point),
                proposer=self.kind,
                base_id=self.space.base_id,
                episode=self.seed.episode,
                generation=generation,
                slot=slot,
            )
            for slot, point in enumerate(genes)
        ]

    def tell(self, generation: int, results: Sequence[Result]) -> None:
        """Take note of a generation's results.

        Args:
            generation: Number of the generation; the first one not told yet.
            results: One for each proposal, in the order of the proposals.

        Raises:
            ValueError: Another generation is due, or a fitness is not finite.
        """
        if generation != len(self.told):
            raise ValueError(
                f"{self.kind}: generation {generation} was told, but {len(self.told)} is due"
            )
        for result in results:
            if not math.isfinite(result.fitness):
                raise ValueError(
                    f"{self.kind}: the fitness of {result.candidate_id} is {result.fitness}: "
                    "tell a penalty for a candidate without energy"
                )
        self.told.append(tuple(results))

    def _distinct(
        self,
        draw: Callable[[], Genes],
        size: int,
        rng: np.random.Generator,
        taken: Collection[Genes] = (),
    ) -> list[Genes]:
        """Draw points until there are `size` that differ from each other and from `taken`.

        A repeated point is redrawn at most `max_redraws` times, then replaced by a uniform draw
        among unseen points; fewer than `size` come back only when the space is used up.
        """
        seen = set(taken)
        points: list[Genes] = []
        for _ in range(size):
            point: Genes | None = draw()
            redraws = 0
            while point in seen and redraws < self.max_redraws:
                point = draw()
                redraws += 1
            if point in seen:
                point = self.space.unseen(rng, seen)
                self.filled += 1
            if point is None:
                break
            seen.add(point)
            points.append(point)
        return points
