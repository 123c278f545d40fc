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
    from pymatgen.core import Structure

    from model.codes import CrystalCodes


@dataclass(frozen=True)
class Draft:
    """What a method wants evaluated, before the interface gives it its place.

    Attributes:
        codes: The crystal's codes.
        structure: See `Proposal`.
        parents: See `Proposal`.
    """

    codes: CrystalCodes
    structure: Structure | None = None
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Proposal:
    """One crystal to evaluate.

    Attributes:
        codes: All its codes; most methods keep the base crystal's local ones.
        proposer: Kind of the proposer.
        base_id: Identifier of the base crystal.
        episode: Number of the episode in the campaign.
        generation: Number of the generation within its episode.
        slot: Place in the generation.
        structure: The crystal itself where the method makes crystals and not codes (ionic
            substitution); `codes` are then what it encodes to, by which it is known, and this
            crystal is evaluated, not what they decode to. None everywhere else.
        parents: Candidates whose codes it inherits in part, where the method knows them.
    """

    codes: CrystalCodes
    proposer: str
    base_id: str
    episode: int
    generation: int
    slot: int
    structure: Structure | None = None
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """What one proposal turned out to be worth.

    Attributes:
        candidate_id: The candidate it became.
        codes: Its codes.
        fitness: Lower is better; always a finite number. A crystal that could not be decoded,
            was refused before its evaluation, or failed carries the campaign's penalty.
        objectives: What a multi-objective search minimises; the first is `fitness`. Empty means
            that there is no other: `(fitness,)`.
    """

    candidate_id: str
    codes: CrystalCodes
    fitness: float
    objectives: tuple[float, ...] = ()

    @property
    def genes(self) -> Genes:
        """Its global genes."""
        return self.codes.global_genes

    @property
    def goals(self) -> tuple[float, ...]:
        """All objectives, `fitness` alone where there is no other."""
        return self.objectives or (self.fitness,)


class Proposer(ABC):
    """Searches the codes around one base crystal for one episode.

    The life of a proposer: an *episode* starts with a base crystal from the code bank, chosen with
    the campaign's seed. Most methods freeze its local codes and search the global genes only
    (`GeneProposer`). In each generation `ask` is called once and returns the generation's
    proposals. They are decoded in one batch, become candidates, and are evaluated by workers
    somewhere else, in any order. Once *all* results of the generation are known, `tell` is called
    once with them, in the order of the proposals, and `ask` may be called for the next generation.
    After `generations` generations the episode is over and a new one starts with a new base.

    A proposer lives only as long as one such call of the loop. Whoever continues a campaign builds
    it again and tells it the recorded generations in order, after which it must ask exactly what
    the interrupted one would have asked. So it is a deterministic function of its space, its seed,
    the results told and models that never change during a campaign: it keeps no other state, reads
    no clock, and never touches the database.
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
    def _draw(self, generation: int, rng: np.random.Generator) -> list[Draft]:
        """Return what one generation wants evaluated, in order.

        Called by `ask` once per generation, when `told` holds exactly the generations before it.
        May use nothing but `space`, `told`, frozen models and `rng`, and changes none of them but
        `rng`.
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
        drafts = self._draw(generation, self.seed.generation(generation))
        return [
            Proposal(
                codes=draft.codes,
                proposer=self.kind,
                base_id=self.space.base_id,
                episode=self.seed.episode,
                generation=generation,
                slot=slot,
                structure=draft.structure,
                parents=draft.parents,
            )
            for slot, draft in enumerate(drafts)
        ]

    def tell(self, generation: int, results: Sequence[Result]) -> None:
        """Take note of a generation's results.

        Args:
            generation: Number of the generation; the first one not told yet.
            results: One for each proposal, in the order of the proposals.

        Raises:
            ValueError: Another generation is due, a fitness is not finite, or the first objective
                is another number than the fitness.
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
            if result.goals[0] != result.fitness or not all(map(math.isfinite, result.goals)):
                raise ValueError(
                    f"{self.kind}: the objectives of {result.candidate_id} are {result.goals}, but "
                    f"they must be finite and start with its fitness {result.fitness}"
                )
        self.told.append(tuple(results))


class GeneProposer(Proposer):
    """Searches the global genes only: every proposal keeps the base crystal's local codes.

    Subclasses implement `_draw_genes`.
    """

    @abstractmethod
    def _draw_genes(self, generation: int, rng: np.random.Generator) -> list[Genes]:
        """Return the genes of one generation, in order; see `Proposer._draw`."""

    def _draw(self, generation: int, rng: np.random.Generator) -> list[Draft]:
        genes = self._draw_genes(generation, rng)
        crystals = self.space.base.with_many_global_genes(genes)
        return [
            Draft(codes, parents=self._parents_of(point)) for codes, point in zip(crystals, genes)
        ]

    def _parents_of(self, point: Genes) -> tuple[str, ...]:
        """Return the candidates that a point of the last draw inherits from; none by default."""
        return ()

    def _distinct(
        self,
        draw: Callable[[int], Sequence[Genes]],
        size: int,
        rng: np.random.Generator,
        taken: Collection[Genes] = (),
    ) -> list[Genes]:
        """Draw points until there are `size` that differ from each other and from `taken`.

        Those that repeat are drawn again, all of them at once and at most `max_redraws` times, then
        replaced by uniform draws among unseen points; fewer than `size` come back only when the
        space is used up.

        Args:
            draw: Draws as many points as it is asked for.
            size: How many are wanted.
            rng: Source of the uniform draws.
            taken: Points that may not be proposed.
        """
        seen = set(taken)
        points: list[Genes] = []
        for _ in range(self.max_redraws + 1):
            for point in draw(size - len(points)):
                if point not in seen:
                    seen.add(point)
                    points.append(point)
            if len(points) == size:
                return points
        while len(points) < size:
            unseen = self.space.unseen(rng, seen)
            if unseen is None:
                break
            self.filled += 1
            seen.add(unseen)
            points.append(unseen)
        return points
