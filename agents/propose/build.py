"""From settings to a proposer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agents.propose.brought import BroughtSettings, build_brought
from agents.propose.proposer import Proposer
from agents.propose.seeds import EpisodeSeed
from agents.propose.settings import (
    DonorSettings,
    EvolutionSettings,
    GeneticSettings,
    NSGASettings,
    PriorSettings,
    ProposerSettings,
    RandomSettings,
    SubstitutionSettings,
    TPESettings,
)
from agents.propose.space import SearchSpace

if TYPE_CHECKING:
    from model.generator import Generator


def build_proposer(
    settings: ProposerSettings,
    space: SearchSpace,
    seed: EpisodeSeed,
    max_redraws: int,
    generator: Generator,
) -> Proposer:
    """Build the proposer that the settings describe.

    Args:
        settings: Settings of one proposer.
        space: What its episode searches.
        seed: Source of its randomness.
        max_redraws: How often one repeated proposal is redrawn.
        generator: The frozen generator, with prior and code bank.

    Raises:
        agents.propose.brought.WrongProposer: An installed package builds another than it says.
    """
    match settings:
        case GeneticSettings():
            from agents.propose.genetic import GeneticProposer

            return GeneticProposer(space, seed, settings, max_redraws=max_redraws)
        case TPESettings():
            from agents.propose.optuna_tpe import TPEProposer

            return TPEProposer(space, seed, settings, max_redraws=max_redraws)
        case NSGASettings():
            from agents.propose.optuna_nsga import NSGAProposer

            return NSGAProposer(space, seed, settings, max_redraws=max_redraws)
        case RandomSettings():
            from agents.propose.random_search import RandomProposer

            return RandomProposer(space, seed, settings, max_redraws=max_redraws)
        case DonorSettings():
            from agents.propose.random_search import DonorProposer

            return DonorProposer(space, seed, settings, max_redraws=max_redraws)
        case PriorSettings():
            from agents.propose.random_search import PriorProposer

            return PriorProposer(space, seed, settings, generator)
        case SubstitutionSettings():
            from agents.propose.substitution import SubstitutionProposer

            return SubstitutionProposer(space, seed, settings, generator)
        case EvolutionSettings():
            from agents.propose.evolution import EvolutionProposer

            return EvolutionProposer(space, seed, settings, generator)
        case BroughtSettings():
            return build_brought(
                settings, space, seed, max_redraws=max_redraws, generator=generator
            )
