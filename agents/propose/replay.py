"""Whose turn it is in a round, and how an interrupted episode is rebuilt from its records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agents.propose.build import build_proposer
from agents.propose.fitness import fitness_of
from agents.propose.proposer import Proposer, Result
from agents.propose.seeds import EpisodeSeed
from agents.propose.settings import FitnessSettings, ProposerSettings, ProposeSettings
from agents.propose.space import draw_base, search_space
from db import generations as generation_records
from db.documents import Candidate
from model.codes import CrystalCodes

if TYPE_CHECKING:
    from model.generator import Generator


class RoundNotReady(RuntimeError):
    """A round was asked before every result of the one before was known."""


@dataclass(frozen=True)
class Turn:
    """One proposer's part in a round.

    Attributes:
        settings: The proposer's settings.
        episode: Number of the episode, unique in the campaign: proposers take turns in the order
            of the settings, so proposer i of n owns the episodes i, i + n, i + 2n, ...
        generation: Number of the generation within the episode.
    """

    settings: ProposerSettings
    episode: int
    generation: int


def turns(settings: ProposeSettings, round_index: int) -> list[Turn]:
    """Return every proposer's turn of a round, in the order of the settings.

    Args:
        settings: The campaign's proposers.
        round_index: Number of the round, from 0.
    """
    count = len(settings.proposers)
    return [
        Turn(
            settings=proposer,
            episode=(round_index // proposer.generations) * count + place,
            generation=round_index % proposer.generations,
        )
        for place, proposer in enumerate(settings.proposers)
    ]


def start_episode(
    seed: EpisodeSeed, generator: Generator, turn: Turn, settings: ProposeSettings
) -> Proposer:
    """Draw an episode's base crystal and build its proposer, before any generation is told.

    Args:
        seed: The episode's seed.
        generator: The generator with its code bank.
        turn: Whose episode it is.
        settings: Restrictions of the base crystal and the bound of redraws.
    """
    space = search_space(generator, draw_base(generator, seed.base(), settings.base))
    return build_proposer(turn.settings, space, seed, settings.max_redraws, generator)


def replay(
    campaign: str, seed: int, generator: Generator, turn: Turn, settings: ProposeSettings
) -> Proposer:
    """Rebuild a proposer from the database, ready to be asked for the turn's generation.

    Args:
        campaign: Name of the campaign.
        seed: The campaign's seed.
        generator: The generator with its code bank.
        turn: The turn to prepare.
        settings: The campaign's proposer settings.

    Returns:
        The proposer, told every earlier generation of its episode.

    Raises:
        RoundNotReady: An earlier generation is not recorded or has a result still to come.
    """
    proposer = start_episode(EpisodeSeed(seed, turn.episode), generator, turn, settings)
    recorded = {g.generation: g for g in generation_records.load(campaign, episode=turn.episode)}
    for number in range(turn.generation):
        if number not in recorded:
            raise RoundNotReady(
                f"campaign {campaign}: generation {number} of episode {turn.episode} "
                "was never recorded"
            )
        results = known_results(recorded[number].candidate_ids, settings.fitness)
        if results is None:
            raise RoundNotReady(
                f"campaign {campaign}: generation {number} of episode {turn.episode} "
                "still waits for evaluations"
            )
        proposer.tell(number, results)
    return proposer


def known_results(ids: Sequence[str], settings: FitnessSettings) -> list[Result] | None:
    """Return the results of candidates in the order given, or None if one is still to come."""
    candidates = {candidate.id: candidate for candidate in _load(ids)}
    results = []
    for candidate_id in ids:
        candidate = candidates[candidate_id]
        fitness = fitness_of(candidate, settings)
        if fitness is None:
            return None
        results.append(Result(candidate_id, CrystalCodes.from_record(candidate.codes), fitness))
    return results


def _load(ids: Iterable[str]) -> Any:
    fields = ("codes", "state", "evaluation", "history")
    return Candidate.objects(id__in=sorted(set(ids))).only(*fields)
