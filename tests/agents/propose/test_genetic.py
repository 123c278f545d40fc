"""The paper's genetic algorithm, against a brute-force version and the rates it promises."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from agents.propose.genetic import GeneticProposer
from agents.propose.proposer import Result
from agents.propose.seeds import EpisodeSeed
from agents.propose.settings import GeneticSettings
from agents.propose.space import SearchSpace
from model.codes import CrystalCodes

GENES, RANGE = 10, 64


@pytest.fixture
def wide() -> SearchSpace:
    base = CrystalCodes(((0, 0), (1, 1), (2, 2)), (0, 0, 0, 0), ((0, 0, 0, 0),) * 5)
    donors = np.random.default_rng(3).integers(0, RANGE, (200, GENES))
    return SearchSpace("base", base, (RANGE,) * GENES, donors)


def genes_of(proposals):
    return [proposal.codes.global_genes for proposal in proposals]


def results_of(proposals, fitness):
    return [
        Result(str(i), proposal.codes, float(value))
        for i, (proposal, value) in enumerate(zip(proposals, fitness, strict=True))
    ]


def second_generation(space, settings, fitness, seed=0):
    proposer = GeneticProposer(space, EpisodeSeed(seed, 0), settings)
    first = proposer.ask(0)
    proposer.tell(0, results_of(first, fitness))
    return genes_of(first), genes_of(proposer.ask(1))


def test_defaults_are_the_papers():
    settings = GeneticSettings()
    assert (settings.population, settings.parents, settings.survivors) == (64, 12, 1)
    assert (settings.crossover, settings.mutation, settings.generations) == (0.5, 0.4, 10)
    assert settings.initial == "random"
    assert settings.distinct is False


def test_the_single_best_survives_and_63_children_join_it(wide):
    fitness = np.random.default_rng(1).normal(size=64)
    first, second = second_generation(wide, GeneticSettings(), fitness)
    assert len(second) == len(set(second)) == 64
    assert second[0] == first[int(fitness.argmin())]
    assert not set(first) & set(second[1:])


def test_without_mutation_every_gene_comes_from_two_of_the_twelve_best(wide):
    fitness = np.random.default_rng(2).permutation(64)
    settings = GeneticSettings(mutation=0.0)
    first, second = second_generation(wide, settings, fitness)
    best = [first[i] for i in np.argsort(fitness)[:12]]
    for child in second[1:]:
        # brute force: some pair of different parents explains every gene
        assert any(
            all(c in (x, y) for c, x, y in zip(child, a, b, strict=True))
            for i, a in enumerate(best)
            for b in best[i + 1 :]
        )
    used = {parent for child in second[1:] for parent in best if set(parent) & set(child)}
    assert len(used) == 12


def test_every_child_names_the_parents_it_has_genes_of(wide):
    settings = GeneticSettings(mutation=0.0)
    proposer = GeneticProposer(wide, EpisodeSeed(0, 0), settings)
    first = proposer.ask(0)
    assert all(proposal.parents == () for proposal in first)
    fitness = np.random.default_rng(2).permutation(64)
    results = results_of(first, fitness)
    proposer.tell(0, results)
    known = {result.candidate_id: result.genes for result in results}
    best = {str(i) for i in np.argsort(fitness)[:12]}
    children = proposer.ask(1)[1:]
    assert all(child.parents for child in children)
    for child in children:
        assert set(child.parents) <= best
        given = [known[parent] for parent in child.parents]
        for place, gene in enumerate(child.codes.global_genes):
            assert gene in {genes[place] for genes in given}
    everything = GeneticProposer(wide, EpisodeSeed(0, 0), GeneticSettings(mutation=1.0))
    everything.ask(0)
    everything.tell(0, results)
    assert all(child.parents == () for child in everything.ask(1)[1:])


def brute_force(space, told, settings, rng):
    """The paper's next generation, gene by gene, from the same random numbers."""
    order = sorted(range(len(told)), key=lambda i: (told[i].fitness, i))
    parents = [told[i].codes.global_genes for i in order[: settings.parents]]
    n, places = settings.population - 1, len(space.sizes)
    first = rng.integers(len(parents), size=n)
    second = rng.integers(len(parents) - 1, size=n)
    cross, mutate = rng.random((n, places)), rng.random((n, places))
    drawn = rng.integers(0, space.sizes, size=(n, places))
    generation = [parents[0]]
    for child in range(n):
        one = parents[first[child]]
        others = [parent for i, parent in enumerate(parents) if i != first[child]]
        other = others[second[child]]
        genes = []
        for place in range(places):
            gene = one[place]
            if cross[child, place] < 0.5:
                gene = other[place]
            if mutate[child, place] < 0.4:
                gene = int(drawn[child, place])
            genes.append(gene)
        generation.append(tuple(genes))
    return generation


def test_three_generations_are_those_of_a_brute_force_version(wide):
    settings, seed = GeneticSettings(), EpisodeSeed(5, 1)
    proposer = GeneticProposer(wide, seed, settings)
    fitness = np.random.default_rng(0)
    told = []
    for generation in range(4):
        proposals = proposer.ask(generation)
        if told:
            expected = brute_force(wide, told, settings, seed.generation(generation))
            assert genes_of(proposals) == expected
        told = results_of(proposals, fitness.normal(size=64).round(1))  # with ties
        proposer.tell(generation, told)


def test_crossover_takes_half_of_the_genes_from_each_parent(wide):
    # two parents only: the share of genes from the better one is binomial(630, 1/2)
    settings = GeneticSettings(mutation=0.0, parents=2)
    fitness = np.arange(64)
    share = []
    for seed in range(5):
        first, second = second_generation(wide, settings, fitness, seed)
        children = np.array(second[1:])
        differing = np.array(first[0]) != np.array(first[1])
        share.append((children == np.array(first[0]))[:, differing].mean())
    n = 63 * GENES * 5
    assert abs(np.mean(share) - 0.5) < 4 * math.sqrt(0.25 / n)


def test_mutation_redraws_40_percent_of_the_genes_uniformly(wide):
    # all parents equal in effect: no crossover, so a child differs from its first parent only by
    # mutation; a redrawn gene keeps its value once in 64
    settings = GeneticSettings(crossover=0.0, parents=2, distinct=False)
    changed, values = [], []
    for seed in range(10):
        first, second = second_generation(wide, settings, np.arange(64), seed)
        parents = np.array(first[:2])
        for child in np.array(second[1:]):
            nearest = parents[(parents == child).sum(1).argmax()]
            changed.append((child != nearest).mean())
            values.extend(child[child != nearest].tolist())
    n = len(changed) * GENES
    expected = 0.4 * (1 - 1 / RANGE)
    assert abs(np.mean(changed) - expected) < 4 * math.sqrt(expected * (1 - expected) / n)
    counts = np.bincount(values, minlength=RANGE)
    chi2 = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    assert chi2 < RANGE - 1 + 5 * math.sqrt(2 * (RANGE - 1))


def test_the_first_population_is_uniform_or_from_donors(wide):
    settings = GeneticSettings(population=2000)
    drawn = np.array(genes_of(GeneticProposer(wide, EpisodeSeed(0, 0), settings).ask(0)))
    counts = np.bincount(drawn[:, 3], minlength=RANGE)
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 130
    donors = GeneticSettings(initial="donor")
    drawn = np.array(genes_of(GeneticProposer(wide, EpisodeSeed(0, 0), donors).ask(0)))
    for place in range(GENES):
        assert set(drawn[:, place]) <= set(wide.donors[:, place].tolist())


def test_it_finds_the_minimum_of_a_separable_function(wide):
    target = np.arange(GENES) * 5
    proposer = GeneticProposer(wide, EpisodeSeed(4, 0), GeneticSettings())
    best = []
    for generation in range(10):
        proposals = proposer.ask(generation)
        fitness = np.abs(np.array(genes_of(proposals)) - target).sum(1)
        best.append(fitness.min())
        proposer.tell(generation, results_of(proposals, fitness))
    assert all(late <= early for early, late in itertools.pairwise(best))
    assert best[-1] < 0.6 * best[0]


def test_a_tiny_space_gives_what_there_is():
    base = CrystalCodes(((0, 0),), (0,), ((0, 0, 0, 0),))
    tiny = SearchSpace("base", base, (3, 2, 2), np.array([[0, 0, 0], [1, 1, 1]]))
    settings = GeneticSettings(population=64, distinct=True)
    proposer = GeneticProposer(tiny, EpisodeSeed(0, 0), settings)
    first = genes_of(proposer.ask(0))
    assert len(first) == len(set(first)) == 12
    paper = GeneticProposer(tiny, EpisodeSeed(0, 0), GeneticSettings(population=64))
    assert len(paper.ask(0)) == 64  # repeats included
