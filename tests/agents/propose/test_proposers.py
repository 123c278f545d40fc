"""What every proposer promises: order, determinism by replay, distinct proposals."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from agents.propose.build import build_proposer
from agents.propose.proposer import Result
from agents.propose.seeds import EpisodeSeed
from agents.propose.settings import GeneticSettings, ProposerSettings, ProposeSettings

KINDS = {
    "genetic": {"kind": "genetic", "population": 24, "parents": 6, "generations": 4},
    "optuna_tpe": {"kind": "optuna_tpe", "batch": 24, "generations": 4, "startup": 24},
    "optuna_nsga2": {"kind": "optuna_nsga2", "population": 24, "generations": 4},
    "optuna_nsga3": {
        "kind": "optuna_nsga3",
        "population": 24,
        "generations": 4,
        "initial": "donor",
    },
    "random": {"kind": "random", "batch": 24, "generations": 4},
    "donor": {"kind": "donor", "batch": 24, "generations": 4},
}
TARGET = np.array([5, 0, 3, 1, 4, 2, 5])


def build(kind, space, seed=0, generator=None):
    settings = TypeAdapter(ProposerSettings).validate_python(KINDS[kind])
    return build_proposer(settings, space, EpisodeSeed(seed, 3), 50, generator)


def evaluate(proposals, penalty=None):
    results = []
    for proposal in proposals:
        genes = proposal.codes.global_genes
        value = float((np.array(genes) != TARGET).sum())
        bad = penalty is not None and genes[-1] == 0
        results.append(Result(str(proposal.slot), proposal.codes, penalty if bad else value))
    return results


def run(proposer, generations, penalty=None):
    asked = []
    for generation in range(generations):
        proposals = proposer.ask(generation)
        asked.append(proposals)
        proposer.tell(generation, evaluate(proposals, penalty))
    return asked


@pytest.mark.parametrize("kind", KINDS)
def test_a_rebuilt_proposer_asks_the_same(kind, space):
    asked = run(build(kind, space), 4)
    for generation in range(4):
        again = build(kind, space)
        for earlier in range(generation):
            again.tell(earlier, evaluate(asked[earlier]))
        assert again.ask(generation) == asked[generation]
    assert run(build(kind, space, seed=1), 1) != asked[:1]


@pytest.mark.parametrize("kind", KINDS)
def test_proposals_are_distinct_and_keep_the_local_codes(kind, space):
    for generation, proposals in enumerate(run(build(kind, space), 3)):
        genes = [proposal.codes.global_genes for proposal in proposals]
        assert len(genes) == len(set(genes)) == 24
        assert [proposal.slot for proposal in proposals] == list(range(24))
        for proposal in proposals:
            assert proposal.codes.local == space.base.local
            assert (proposal.proposer, proposal.episode) == (kind, 3)
            assert (proposal.generation, proposal.base_id) == (generation, "crystal-0")
            assert all(0 <= g < n for g, n in zip(proposal.codes.global_genes, space.sizes))


@pytest.mark.parametrize("kind", KINDS)
def test_generations_come_in_order(kind, space):
    proposer = build(kind, space)
    with pytest.raises(ValueError, match="generation 1 of 4 was asked"):
        proposer.ask(1)
    with pytest.raises(ValueError, match="generation 2 was told, but 0 is due"):
        proposer.tell(2, [])
    run(proposer, 4)
    with pytest.raises(ValueError, match="generation 4 of 4"):
        proposer.ask(4)


def test_a_result_without_number_is_refused(space):
    proposer = build("random", space)
    codes = proposer.ask(0)[0].codes
    with pytest.raises(ValueError, match="tell a penalty"):
        proposer.tell(0, [Result("lost", codes, float("nan"))])


def test_objectives_start_with_the_fitness(space):
    proposer = build("random", space)
    codes = proposer.ask(0)[0].codes
    assert Result("one", codes, 1.0).goals == (1.0,)
    with pytest.raises(ValueError, match="start with its fitness"):
        proposer.tell(0, [Result("two", codes, 1.0, (2.0, 1.0))])
    proposer.tell(0, [Result("three", codes, 1.0, (1.0, 2.0))])


def test_tpe_learns_and_never_repeats_itself(space):
    asked = run(build("optuna_tpe", space), 4)
    genes = [proposal.codes.global_genes for proposals in asked for proposal in proposals]
    assert len(set(genes)) == len(genes) == 96
    means = [np.mean([r.fitness for r in evaluate(proposals)]) for proposals in asked]
    uniform = 7 * 5 / 6
    assert means[-1] < means[0] - 0.5
    assert means[-1] < uniform - 0.5


def test_tpe_avoids_what_was_told_as_penalty(space):
    # the last gene 0 cannot be decoded: a sixth of uniform proposals
    asked = run(build("optuna_tpe", space), 4, penalty=10.0)
    invalid = [np.mean([p.codes.global_genes[-1] == 0 for p in proposals]) for proposals in asked]
    assert np.mean(invalid[2:]) < 0.5 / 6


def test_donor_genes_stay_at_their_place(space):
    for proposal in run(build("donor", space), 1)[0]:
        for place, gene in enumerate(proposal.codes.global_genes):
            assert gene in space.donors[:, place]


def test_impossible_settings_are_refused():
    with pytest.raises(ValidationError, match="lower parents or raise population"):
        GeneticSettings(population=8)
    with pytest.raises(ValidationError, match="leaves no child"):
        GeneticSettings(survivors=64)
    with pytest.raises(
        ValidationError, match="no proposer 'simulated_annealing'; known are genetic, "
    ):
        ProposeSettings.model_validate({"proposers": [{"kind": "simulated_annealing"}]})
    with pytest.raises(ValidationError):
        ProposeSettings(proposers=())
    with pytest.raises(ValidationError, match="no base crystal could be drawn"):
        ProposeSettings.model_validate({"base": {"min_species": 3, "max_species": 2}})
