"""NSGA-II and NSGA-III against Optuna run by itself, on a problem whose Pareto front is known."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.samplers import NSGAIISampler

from agents.propose.optuna_nsga import NSGAProposer
from agents.propose.optuna_trials import completed, distributions
from agents.propose.proposer import Result
from agents.propose.seeds import EpisodeSeed
from agents.propose.settings import NSGASettings

SIZE, GENES = 6, 7


def goals(genes):
    """Genes that are not 1, genes that are not 5: the front is every (k, 7 - k)."""
    genes = list(genes)
    return float(sum(g != 1 for g in genes)), float(sum(g != 5 for g in genes))


def hypervolume(points):
    """Return the area that points dominate below (8, 8)."""
    corner, area = GENES + 1.0, 0.0
    for first, second in sorted(set(points)):
        if second < corner:
            area += (GENES + 1.0 - first) * (corner - second)
            corner = second
    return area


def told(proposals, values):
    return [
        Result(str(p.slot), p.codes, v[0], objectives=v)
        for p, v in zip(proposals, values, strict=True)
    ]


def search(space, kind, seed, generations=12, population=24, objectives=goals):
    settings = NSGASettings(kind=kind, population=population, generations=generations)
    proposer = NSGAProposer(space, EpisodeSeed(seed, 0), settings)
    found = []
    for generation in range(generations):
        proposals = proposer.ask(generation)
        values = [objectives(p.codes.global_genes) for p in proposals]
        found += values
        proposer.tell(generation, told(proposals, values))
    return found


def search_by_optuna(seed, evaluations, population=24):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        directions=["minimize"] * 2, sampler=NSGAIISampler(population_size=population, seed=seed)
    )
    space = distributions((SIZE,) * GENES)
    found = []
    for _ in range(evaluations):
        trial = study.ask(space)
        found.append(goals(trial.params.values()))
        study.tell(trial, list(found[-1]))
    return found


@pytest.mark.parametrize("kind", ["optuna_nsga2", "optuna_nsga3"])
def test_the_front_grows_as_with_optuna_itself(kind, space):
    front = hypervolume([(float(k), float(GENES - k)) for k in range(GENES + 1)])
    start = np.mean([hypervolume(search(space, kind, seed, generations=1)) for seed in range(3)])
    ours = np.mean([hypervolume(search(space, kind, seed)) for seed in range(3)])
    theirs = np.mean([hypervolume(search_by_optuna(seed, 12 * 24)) for seed in range(3)])
    print(kind, front, start, ours, theirs)
    assert start < 0.6 * front
    assert ours >= 0.95 * theirs
    assert ours >= 0.85 * front


def test_one_generation_is_what_optuna_asks_for(space):
    """Same trials, same seed: the same children, as far as none repeats."""
    settings = NSGASettings(kind="optuna_nsga2", population=24, generations=2)
    proposer = NSGAProposer(space, EpisodeSeed(5, 0), settings)
    first = proposer.ask(0)
    results = told(first, [goals(p.codes.global_genes) for p in first])
    proposer.tell(0, results)
    seed = int(EpisodeSeed(5, 0).generation(1).integers(2**32))
    sampler = NSGAIISampler(population_size=24, seed=seed)
    study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler)
    parameters = distributions(space.sizes)
    key = "NSGAIISampler:generation"
    study.add_trials(completed(r, parameters, system={key: 0}) for r in results)
    expected, seen = [], {r.genes for r in results}
    while len(expected) < 24:
        genes = tuple(study.ask(parameters).params.values())
        if genes not in seen:
            expected.append(genes)
            seen.add(genes)
    assert [p.codes.global_genes for p in proposer.ask(1)] == expected


@pytest.mark.parametrize("kind", ["optuna_nsga2", "optuna_nsga3"])
def test_one_objective_works_too(kind, space):
    values = search(space, kind, 1, objectives=lambda genes: goals(genes)[:1])
    assert min(values) == (0.0,)
    assert np.mean(values[-24:]) < np.mean(values[:24]) - 1


def test_a_penalty_is_a_value_that_parents_avoid(space):
    settings = NSGASettings(kind="optuna_nsga2", population=24, generations=4, mutation=0.1)
    proposer = NSGAProposer(space, EpisodeSeed(2, 0), settings)
    share = []
    for generation in range(4):
        proposals = proposer.ask(generation)
        invalid = [p.codes.global_genes[-1] % 2 == 0 for p in proposals]
        share.append(np.mean(invalid))
        values = [
            (10.0, 10.0) if bad else goals(p.codes.global_genes)
            for bad, p in zip(invalid, proposals)
        ]
        proposer.tell(generation, told(proposals, values))
    assert share[-1] < 0.7 * share[0]
