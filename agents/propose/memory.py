"""What a campaign knows when an episode starts: the results of all rounds completed before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agents.propose.bandit import Arm
from agents.propose.fitness import fitness_of
from agents.propose.proposer import Result
from agents.propose.settings import FitnessSettings
from db import generations as generation_records
from db.documents import Candidate, Generation
from model.codes import CrystalCodes

if TYPE_CHECKING:
    from agents.propose.objectives import Objectives


class RoundNotReady(RuntimeError):
    """A round was asked before every result of the one before was known."""


@dataclass(frozen=True)
class CampaignMemory:
    """Generations of completed rounds, with the results of their candidates.

    It depends only on rounds that are over, whose results never change, so an episode that is
    rebuilt finds what it found when it started.

    Attributes:
        generations: By round, then in the order of the proposers.
        results: Candidate id to its result and reduced formula (None if it could not be decoded).
    """

    generations: tuple[Generation, ...]
    results: Mapping[str, tuple[Result, str | None]]

    def latest(self, limit: int) -> tuple[Result, ...]:
        """Return the newest results, oldest first, each candidate once, at the time it was new."""
        ids = dict.fromkeys(i for g in self.generations for i in g.candidate_ids)
        kept = list(ids)[max(0, len(ids) - limit) :]
        return tuple(self.results[i][0] for i in kept)

    def arms(self, proposer: str, place: int, proposers: int, threshold: float) -> list[Arm]:
        """Return what the episodes of one proposer gave, in their order.

        Args:
            proposer: Its kind.
            place: Its place among the campaign's proposers.
            proposers: Number of these.
            threshold: Fitness below which a formula is a hit, counted where it is found first.
        """
        seen: set[str] = set()
        hits: dict[int, int] = {}
        evaluations: dict[int, int] = {}
        bases: dict[int, str] = {}
        for generation in self.generations:
            own = generation.proposer == proposer and generation.episode % proposers == place
            for candidate_id in generation.candidate_ids:
                result, formula = self.results[candidate_id]
                new = formula is not None and formula not in seen and result.fitness < threshold
                if new and formula is not None:
                    seen.add(formula)
                if own:
                    episode = int(generation.episode)
                    bases[episode] = str(generation.base_id)
                    hits[episode] = hits.get(episode, 0) + new
                    evaluations[episode] = evaluations.get(episode, 0) + 1
        return [Arm(bases[e], hits[e], evaluations[e]) for e in sorted(bases)]


def recall(
    campaign: str, before_round: int, settings: FitnessSettings, objectives: Objectives | None
) -> CampaignMemory:
    """Read the results of the rounds before one, all of which must be known.

    Args:
        campaign: Name of the campaign.
        before_round: Number of the first round that is left out.
        settings: What the fitness is.
        objectives: What is minimised besides.

    Raises:
        RoundNotReady: A result is still to come.
    """
    generations = sorted(
        (g for g in generation_records.load(campaign) if g.info["round"] < before_round),
        key=lambda g: (g.info["round"], g.episode),
    )
    ids = [i for g in generations for i in g.candidate_ids]
    found = results_of(load(ids), settings, objectives)
    known = {i: pair for i, pair in found.items() if pair is not None}
    if len(known) < len(found):
        raise RoundNotReady(
            f"campaign {campaign}: {len(found) - len(known)} candidates of rounds before "
            f"{before_round} still wait for evaluations"
        )
    return CampaignMemory(tuple(generations), known)


def results_of(
    candidates: Sequence[Any], settings: FitnessSettings, objectives: Objectives | None
) -> dict[str, tuple[Result, str | None] | None]:
    """Return result and formula of each candidate by id, None for one that is still to come."""
    codes = [CrystalCodes.from_record(candidate.codes) for candidate in candidates]
    fitness = [fitness_of(candidate, settings) for candidate in candidates]
    others = [()] * len(codes)
    if objectives is not None:
        values = objectives(codes, [candidate.formula or "" for candidate in candidates])
        others = [tuple(row) for row in values.tolist()]
    return {
        candidate.id: None
        if value is None
        else (
            Result(candidate.id, own, value, (value, *other) if other else ()),
            candidate.formula,
        )
        for candidate, own, value, other in zip(candidates, codes, fitness, others, strict=True)
    }


def load(ids: Iterable[str]) -> list[Any]:
    """Read the candidates, each once, as far as their results need."""
    fields = ("codes", "state", "evaluation", "history", "formula")
    return list(Candidate.objects(id__in=sorted(set(ids))).only(*fields))
