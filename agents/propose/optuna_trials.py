"""Results of a search as trials of Optuna."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, create_trial

from agents.propose.proposer import Result
from agents.propose.space import Genes


def distributions(sizes: Sequence[int]) -> dict[str, BaseDistribution]:
    """Return one categorical parameter for each global gene, in their order."""
    return {
        f"gene_{place:02d}": CategoricalDistribution(range(size))
        for place, size in enumerate(sizes)
    }


def completed(
    result: Result,
    space: Mapping[str, BaseDistribution],
    *,
    user: Mapping[str, Any] | None = None,
    system: Mapping[str, Any] | None = None,
) -> FrozenTrial:
    """Return a completed trial; a penalty is a value, because samplers ignore failed trials.

    Args:
        result: what the proposal was worth.
        space: `distributions` of its genes.
        user: attributes for people.
        system: attributes for the sampler.
    """
    return create_trial(
        params=dict(zip(space, result.genes, strict=True)),
        distributions=dict(space),
        values=list(result.goals),
        user_attrs=dict(user or {}),
        system_attrs=dict(system or {}),
    )


def genes(trial: optuna.trial.Trial, space: Mapping[str, BaseDistribution]) -> Genes:
    """Return the genes of a trial that was asked for."""
    return tuple(int(trial.params[name]) for name in space)


def study_in_memory(
    sampler: optuna.samplers.BaseSampler, told: Sequence[Sequence[Result]]
) -> optuna.Study:
    """Return an empty study for as many objectives as the results have; all are minimised."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    goals = next((len(result.goals) for results in told for result in results), 1)
    return optuna.study.create_study(
        study_name="episode",
        storage=optuna.storages.InMemoryStorage(),
        sampler=sampler,
        directions=["minimize"] * goals,
    )
