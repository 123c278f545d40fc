"""Whose turn it is in a round, and how an interrupted episode is rebuilt from its records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from agents.propose.bandit import thompson
from agents.propose.build import build_proposer
from agents.propose.memory import RoundNotReady, load, recall, results_of
from agents.propose.objectives import Objectives
from agents.propose.own_bases import OwnBase, take_turns
from agents.propose.proposer import Proposer, Result
from agents.propose.seeds import EpisodeSeed
from agents.propose.settings import (
    EvolutionSettings,
    FitnessSettings,
    ProposerSettings,
    ProposeSettings,
)
from agents.propose.space import draw_base, search_space, space_around
from agents.targets import Window
from db import generations as generation_records

if TYPE_CHECKING:
    from model.generator import Generator


@dataclass(frozen=True)
class Turn:
    """One proposer's part in a round.

    Attributes:
        settings: The proposer's settings.
        episode: Number of the episode, unique in the campaign: proposers take turns in the order
            of the settings, so proposer i of n owns the episodes i, i + n, i + 2n, ...
        generation: Number of the generation within the episode.
        first_round: Number of the round in which the episode started.
    """

    settings: ProposerSettings
    episode: int
    generation: int
    first_round: int


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
            first_round=round_index - round_index % proposer.generations,
        )
        for place, proposer in enumerate(settings.proposers)
    ]


def start_episode(
    campaign: str,
    seed: EpisodeSeed,
    generator: Generator,
    turn: Turn,
    settings: ProposeSettings,
    targets: Sequence[Window] = (),
    own_bases: Sequence[OwnBase] = (),
    is_known: Callable[[str], bool] | None = None,
    is_excluded: Callable[[str], bool] | None = None,
) -> Proposer:
    """Choose an episode's base crystal and build its proposer, before any generation is told.

    What earlier rounds of the campaign found is looked at only for proposers that learn from it.

    Args:
        campaign: Name of the campaign.
        seed: The episode's seed.
        generator: The generator with its code bank.
        turn: Whose episode it is.
        settings: Restrictions of the base crystal and the bound of redraws.
        targets: The campaign's windows, for objectives.
        own_bases: Base crystals that a person brought, taken in turn by the episodes of each
            proposer; empty: training crystals.
        is_known: Whether the reference collection has a formula, for the objective of novelty.
        is_excluded: Whether the screens exclude a formula, for the objective of the rules.
    """
    objectives = None
    if settings.fitness.objectives:
        wanted = settings.fitness.objectives
        objectives = Objectives(wanted, generator, targets, is_known, is_excluded)
    own, rng = turn.settings, seed.base()
    earlier: tuple[Result, ...] = ()
    returned: str | None = None
    if isinstance(own, EvolutionSettings) and turn.first_round and (own.bandit or own.recall):
        memory = recall(campaign, turn.first_round, settings.fitness, objectives)
        earlier = memory.latest(own.recall)
        if own.bandit:
            count = len(settings.proposers)
            arms = memory.arms(own.kind, turn.episode % count, count, own.threshold)
            returned = thompson(arms, rng)
    if own_bases:
        number = turn.episode // len(settings.proposers)
        base = take_turns(own_bases, number, returned)
        space = space_around(generator, base.id, base.codes)
    elif returned is None:
        space = search_space(generator, draw_base(generator, rng, settings.base))
    else:
        space = search_space(generator, int(np.flatnonzero(generator.bank.ids == returned)[0]))
    space = replace(space, earlier=earlier, objectives=objectives)
    return build_proposer(own, space, seed, settings.max_redraws, generator)


def replay(
    campaign: str,
    seed: int,
    generator: Generator,
    turn: Turn,
    settings: ProposeSettings,
    targets: Sequence[Window] = (),
    own_bases: Sequence[OwnBase] = (),
    is_known: Callable[[str], bool] | None = None,
    is_excluded: Callable[[str], bool] | None = None,
) -> Proposer:
    """Rebuild a proposer from the database, ready to be asked for the turn's generation.

    Args:
        campaign: Name of the campaign.
        seed: The campaign's seed.
        generator: The generator with its code bank.
        turn: The turn to prepare.
        settings: The campaign's proposer settings.
        targets: The campaign's windows, for objectives.
        own_bases: Base crystals that a person brought.
        is_known: Whether the reference collection has a formula, for the objective of novelty.
        is_excluded: Whether the screens exclude a formula, for the objective of the rules.

    Returns:
        The proposer, told every earlier generation of its episode.

    Raises:
        RoundNotReady: An earlier generation is not recorded or has a result still to come.
    """
    episode = EpisodeSeed(seed, turn.episode)
    proposer = start_episode(
        *(campaign, episode, generator, turn, settings, targets, own_bases),
        is_known=is_known,
        is_excluded=is_excluded,
    )
    recorded = {g.generation: g for g in generation_records.load(campaign, episode=turn.episode)}
    for number in range(turn.generation):
        if number not in recorded:
            raise RoundNotReady(
                f"campaign {campaign}: generation {number} of episode {turn.episode} "
                "was never recorded"
            )
        ids = recorded[number].candidate_ids
        results = known_results(ids, settings.fitness, proposer.space.objectives)
        if results is None:
            raise RoundNotReady(
                f"campaign {campaign}: generation {number} of episode {turn.episode} "
                "still waits for evaluations"
            )
        proposer.tell(number, results)
    return proposer


def known_results(
    ids: Sequence[str], settings: FitnessSettings, objectives: Objectives | None = None
) -> list[Result] | None:
    """Return the results of candidates in the order given, or None if one is still to come."""
    found = results_of(load(ids), settings, objectives)
    results = [found[i] for i in ids]
    known = [pair[0] for pair in results if pair is not None]
    return known if len(known) == len(results) else None
