"""The methods that are compared: names of proposer settings."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from agents.compare.fitness import Fitness
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

HULL_THRESHOLD = 0.1
"""Single-point energy above the hull below which our search looks for crystals, eV/atom."""

OURS = EvolutionSettings()


def _without(**parts: Any) -> EvolutionSettings:
    """Return our settings with some parts switched off, checked like all settings."""
    return EvolutionSettings.model_validate(OURS.model_dump() | parts)


METHODS: dict[str, ProposerSettings] = {
    "uniform": RandomSettings(),
    "donor": DonorSettings(),
    "substitution": SubstitutionSettings(),
    "prior": PriorSettings(),
    "paper_ga": GeneticSettings(),
    "tpe": TPESettings(),
    "nsga2": NSGASettings(kind="optuna_nsga2"),
    "ours": OURS,
    "ours_without_surrogate": _without(surrogate=False),
    "ours_without_prior": _without(initial="donor", prior=False, fresh=0.0),
    "ours_without_charge_filter": _without(charge="off"),
    "ours_without_distinct_formulas": _without(distinct="codes", archive=False),
    "ours_without_whole_tokens": _without(whole_tokens=False),
    "ours_without_crossover": _without(crossover=0.0),
    "ours_without_local_moves": _without(local_moves=0.0),
}
"""Every method by name; all ask for 64 candidates at a time, as the paper's algorithm does."""


class UnknownMethod(ValueError):
    """A method's name is not in `METHODS`."""

    exit_code = 2


def settings_of(name: str) -> ProposerSettings:
    """Return the proposer settings of a method.

    Raises:
        UnknownMethod: there is none of this name.
    """
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f", did you mean {near[0]}?" if near else ""
        raise UnknownMethod(f"unknown method {name!r}{hint} (known: {', '.join(METHODS)})")
    return METHODS[name]


def settings_for(settings: ProposerSettings, fitness: Fitness) -> ProposerSettings:
    """Return the settings with what must follow the fitness: the value below which to search.

    Decoded crystals lie above the hull until they are relaxed, so the threshold there is what
    `HULL_THRESHOLD` says.
    """
    if fitness is Fitness.ABOVE_HULL and isinstance(settings, EvolutionSettings):
        return settings.model_copy(update={"threshold": HULL_THRESHOLD})
    return settings


def for_budget(settings: ProposerSettings, evaluations: int) -> ProposerSettings:
    """Return the settings with an episode long enough for any number of evaluations.

    A generation may hold crystals that were evaluated before and cost nothing, the survivors of a
    genetic algorithm for instance, so a number of generations does not fix the evaluations. The
    budget ends a search here, not the method.
    """
    return settings.model_copy(update={"generations": max(settings.generations, evaluations)})


def check_names(names: Sequence[str]) -> list[str]:
    """Return the names, each once, or raise `UnknownMethod`."""
    for name in names:
        settings_of(name)
    return list(dict.fromkeys(names))
