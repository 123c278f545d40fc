"""The product's own search on the shipped Perov-5 generator, with a made-up energy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Composition, Element
from smact.screening import smact_validity

from agents.propose.build import build_proposer
from agents.propose.chemistry import CodeReader, balanced
from agents.propose.evolution import EvolutionProposer
from agents.propose.proposer import Result
from agents.propose.random_search import MissingPrior
from agents.propose.seeds import EpisodeSeed
from agents.propose.settings import EvolutionSettings
from agents.propose.space import search_space
from model.codes import CrystalCodes
from model.generator import Generator

BASE = 2  # row of the bank
SMALL = {"batch": 16, "generations": 3, "pool": 4, "min_labels": 16, "parents": 12}


def build(generator: Generator, seed: int = 0, space: Any = None, **parts: Any):
    settings = EvolutionSettings.model_validate(SMALL | parts)
    space = search_space(generator, BASE) if space is None else space
    proposer = build_proposer(settings, space, EpisodeSeed(seed, 3), 50, generator)
    assert isinstance(proposer, EvolutionProposer)
    return proposer


def formulas(generator: Generator, proposals: Any) -> list[str]:
    return [r.formula for r in CodeReader(generator).read([p.codes for p in proposals])]


def codes_of(proposals: Any) -> list[CrystalCodes]:
    return [proposal.codes for proposal in proposals]


def energy(formula: str) -> float:
    """Ionic crystals are low: minus the spread of the electronegativities."""
    elements = Composition(formula)
    x = [Element(str(e)).X for e in elements]
    return 1.2 - float(np.ptp(x))


def tell(generator: Generator, proposer: Any, generation: int, proposals: Any) -> list[Result]:
    found = formulas(generator, proposals)
    results = [
        Result(str(p.slot), p.codes, energy(f)) for p, f in zip(proposals, found, strict=True)
    ]
    proposer.tell(generation, results)
    return results


def run(generator: Generator, generations: int = 2, **parts: Any):
    proposer, asked, told = build(generator, **parts), [], []
    for generation in range(generations):
        asked.append(proposer.ask(generation))
        told.append(tell(generator, proposer, generation, asked[-1]))
    return asked, told


def test_a_rebuilt_search_asks_the_same(shipped):
    asked, told = run(shipped)
    for generation in range(2):
        again = build(shipped)
        for earlier in range(generation):
            again.tell(earlier, told[earlier])
        assert again.ask(generation) == asked[generation]
    assert build(shipped, seed=1).ask(0) != asked[0]


def test_children_name_parents_whose_tokens_they_have(shipped):
    asked, told = run(shipped, local_moves=0.0, prior=False, initial="donor")
    assert all(proposal.parents == () for proposal in asked[0])
    known = {result.candidate_id: result.codes for result in told[0]}
    for proposal in asked[1]:
        assert 1 <= len(set(proposal.parents)) == len(proposal.parents) <= 2
        parents = [known[parent] for parent in proposal.parents]
        assert proposal.codes.local == parents[0].local
        # the first generation shares the base's cell, so that some token always comes from one
        tokens = [{p.species[i] for p in parents} for i in range(proposal.codes.n_species)]
        same = [token in given for token, given in zip(proposal.codes.species, tokens, strict=True)]
        assert any(same) or proposal.codes.crystal in {p.crystal for p in parents}
    assert len({parent for proposal in asked[1] for parent in proposal.parents}) > 3


def test_no_formula_is_paid_for_twice_and_all_are_balanced(shipped):
    asked, _ = run(shipped)
    found = [f for proposals in asked for f in formulas(shipped, proposals)]
    assert len(found) == len(set(found)) == 32
    assert all(smact_validity(f, oxidation_states_set="smact14") for f in found)
    decoded = shipped.decode([p.codes for proposals in asked for p in proposals])
    assert all(d.structure is not None for d in decoded)
    assert [d.structure.composition.reduced_formula for d in decoded] == found


def test_the_charge_filter_is_smacts_own_answer():
    for formula in ("SrTiO3", "NaCl", "Fe3O4", "NaO3", "AlSnN3", "TiAl", "KOsN3", "Na", "PmO2"):
        own = smact_validity(formula, oxidation_states_set="smact14")
        assert balanced(formula, "cdvae") == own
        assert balanced(formula, "strict") == smact_validity(formula)
        assert balanced(formula, "off")


def test_it_finds_what_the_surrogate_learns(shipped):
    _, told = run(shipped, 3, threshold=-1.2)
    hits = [np.mean([result.fitness < -1.2 for result in results]) for results in told]
    assert hits[0] < 0.5
    assert hits[-1] > hits[0] + 0.3


@pytest.fixture(scope="module")
def whole(shipped):
    """The first generation, its results with the best told twice, and the second generation."""
    asked, (results,) = run(shipped, 1)
    # only an archive of distinct formulas keeps one of the two
    told = [min(results, key=lambda result: result.fitness), *results[1:]]
    proposer = build(shipped)
    proposer.tell(0, told)
    return asked[0], told, codes_of(proposer.ask(1))


@pytest.mark.parametrize(
    "part",
    [
        {"surrogate": False},
        {"archive": False},
        {"prior": False},
        {"fresh": 0.0},
        {"crossover": 0.0},
        {"whole_tokens": False},
        {"distinct": "codes"},
        {"local_moves": 0.0},
        {"acquisition": "improvement"},
        {"pool": 2},
    ],
    ids=lambda part: next(iter(part)),
)
def test_every_part_can_be_switched_off(shipped, whole, part):
    first, told, second = whole
    proposer = build(shipped, **part)
    assert proposer.ask(0) == first
    proposer.tell(0, told)
    assert codes_of(proposer.ask(1)) != second


def test_the_first_generation_comes_from_where_the_settings_say(shipped):
    space = search_space(shipped, BASE)
    first = {k: build(shipped, initial=k).ask(0) for k in ("prior", "donor", "uniform")}
    for proposal in first["donor"]:
        for place, gene in enumerate(proposal.codes.global_genes):
            assert gene in space.donors[:, place]
    assert len({tuple(p.codes for p in proposals) for proposals in first.values()}) == 3
    everything = build(shipped, initial="uniform", charge="off", distinct="off").ask(0)
    accepted = [balanced(f, "cdvae") for f in formulas(shipped, everything)]
    assert not all(accepted)  # which is why the filter is there


def test_without_local_moves_the_geometry_is_the_bases(shipped):
    local = search_space(shipped, BASE).base.local
    frozen, _ = run(shipped, local_moves=0.0)
    assert {p.codes.local for proposals in frozen for p in proposals} == {local}
    moved, _ = run(shipped, local_moves=1.0, fresh=0.0)
    assert len({p.codes.local for p in moved[1]}) > 4


def test_what_the_campaign_knows_already_is_not_paid_for_again(shipped):
    asked, told = run(shipped)
    earlier = tuple(result for results in told for result in results)
    space = replace(search_space(shipped, BASE), earlier=earlier)
    first = build(shipped, seed=9, space=space).ask(0)
    known = {f for proposals in asked for f in formulas(shipped, proposals)}
    assert not known & set(formulas(shipped, first))
    cold = build(shipped, seed=9).ask(0)
    worth = [np.mean([energy(f) for f in formulas(shipped, p)]) for p in (first, cold)]
    assert worth[0] < worth[1] - 0.1  # the surrogate ranks from the first generation on


def heavy(formula: str) -> bool:
    return any(Element(str(e)).Z > 54 for e in Composition(formula))


class AvoidHeavy:
    """Stands for objectives: crystals with heavy elements are worth a hundredth."""

    def __call__(self, codes: Any, formulas: list[str]) -> np.ndarray:
        return np.array([[heavy(formula)] for formula in formulas], dtype=float)

    def desirability(self, values: np.ndarray) -> np.ndarray:
        return 0.01 ** values[:, 0]


def test_objectives_steer_the_search(shipped):
    plain = search_space(shipped, BASE)
    steered = replace(plain, objectives=AvoidHeavy())
    shares = []
    for space in (plain, steered):
        proposer = build(shipped, space=space)
        first = proposer.ask(0)
        tell(shipped, proposer, 0, first)
        asked = formulas(shipped, first), formulas(shipped, proposer.ask(1))
        shares.append([np.mean([heavy(f) for f in found]) for found in asked])
    assert min(shares[0]) > 0.4
    assert shares[1] == [0, 0]  # objectives are known before the first evaluation


def test_parents_are_the_first_pareto_front(shipped):
    proposer = build(shipped, parents=3)
    codes = codes_of(proposer.ask(0))[:5]
    goals = [(3.0, 0.0), (2.0, 1.0), (1.0, 2.0), (2.5, 2.0), (1.5, 3.0)]
    results = [Result(str(i), c, g[0], g) for i, (c, g) in enumerate(zip(codes, goals))]
    assert proposer._parents(results) == [codes[2], codes[1], codes[0]]
    single = [Result(str(i), c, g[0]) for i, (c, g) in enumerate(zip(codes, goals))]
    assert proposer._parents(single) == [codes[2], codes[4], codes[1]]


def test_a_used_up_chemistry_is_filled_with_other_crystals(shipped):
    parts = {"initial": "prior", "prior": False, "fresh": 0.0, "token_mutation": 0.0}
    proposer = build(shipped, **parts, crossover=0.0, crystal_mutation=1.0, local_moves=0.0)
    first = proposer.ask(0)
    tell(shipped, proposer, 0, first)
    second = proposer.ask(1)  # only crystal tokens move, so no new formula can come
    assert set(formulas(shipped, second)) <= set(formulas(shipped, first))
    assert len({p.codes for p in first + second}) == 32


def test_a_generator_without_prior_is_refused(shipped, monkeypatch):
    monkeypatch.setattr(shipped, "prior", None)
    with pytest.raises(MissingPrior, match="perov5 has no prior"):
        build(shipped)
    build(shipped, initial="donor", prior=False, fresh=0.0, local_moves=0.0).ask(0)


def test_prior_proposals_are_the_priors(shipped):
    from agents.propose.settings import PriorSettings

    space = search_space(shipped, BASE)
    proposer = build_proposer(PriorSettings(batch=12), space, EpisodeSeed(0, 0), 50, shipped)
    proposals = proposer.ask(0)
    assert len({p.codes for p in proposals}) == 12
    assert {p.codes.local for p in proposals} == {space.base.local}
    likelihood = shipped.prior.log_likelihood([p.codes for p in proposals]).mean()
    uniform = [space.base.with_global_genes(g) for g in space.uniform(np.random.default_rng(0), 12)]
    assert likelihood > shipped.prior.log_likelihood(uniform).mean() + 5
