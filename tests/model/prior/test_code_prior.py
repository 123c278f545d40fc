"""The prior is a distribution: it sums to one, and its samplers draw from it."""

from __future__ import annotations

import json
import math
from collections import Counter

import pytest
import torch
from safetensors.torch import load, save

from model.codes import CrystalCodes
from model.prior.code_prior import CodePrior, CorruptPrior
from model.prior.settings import Temperatures
from model.prior.storage import read_description


def _total_variation(drawn: list[CrystalCodes], probability: dict[CrystalCodes, float]) -> float:
    counts = Counter(drawn)
    assert set(counts) <= set(probability)
    return sum(abs(counts[c] / len(drawn) - p) for c, p in probability.items()) / 2


def test_likelihoods_of_all_crystals_sum_to_one(tiny, every_crystal):
    total = tiny.log_likelihood(every_crystal).double().exp().sum()
    assert float(total) == pytest.approx(1, abs=1e-4)


def test_geometry_first_is_a_distribution_too_and_another_one(tiny, every_crystal):
    parts = tiny.log_likelihood_parts(every_crystal, geometry_first=True)
    other = torch.stack(list(parts.values())).sum(0)
    assert float(other.double().exp().sum()) == pytest.approx(1, abs=1e-4)
    assert (other - tiny.log_likelihood(every_crystal)).abs().max() > 0.01


@pytest.mark.parametrize("world", ["tiny", "roomy"])
def test_draws_report_their_likelihood(world, request):
    prior = request.getfixturevalue(world)
    codes, log_p = prior.sample_scored(200, seed=3)
    assert torch.allclose(prior.log_likelihood(codes), log_p, atol=1e-3)


def test_draws_follow_the_likelihood(tiny, every_crystal):
    probability = dict(zip(every_crystal, tiny.log_likelihood(every_crystal).exp().tolist()))
    skeleton = Counter()
    for c, p in probability.items():
        skeleton[(c.n_species, c.n_atoms, c.species[0])] += p
    drawn = Counter((c.n_species, c.n_atoms, c.species[0]) for c in tiny.sample(4000, seed=0))
    for key, p in skeleton.items():
        assert drawn[key] / 4000 == pytest.approx(p, abs=4 * math.sqrt(p / 4000) + 0.002)


def test_same_seed_same_crystals(roomy):
    assert roomy.sample(20, seed=5) == roomy.sample(20, seed=5)
    assert roomy.sample(20, seed=5) != roomy.sample(20, seed=6)


def test_atoms_are_a_set(roomy):
    codes = next(c for c in roomy.sample(50, seed=0) if c.n_species > 1)
    turned = CrystalCodes(codes.species, codes.crystal, codes.local[::-1])
    slots = [roomy.tables.role_slot[codes.n_species - 1][a[0]] for a in turned.local]
    within = sorted(range(len(slots)), key=lambda i: int(slots[i]))
    sorted_again = CrystalCodes(
        codes.species, codes.crystal, tuple(turned.local[i] for i in within)
    )
    assert torch.equal(roomy.log_likelihood([turned]), roomy.log_likelihood([sorted_again]))


def test_a_species_without_an_atom_is_impossible(roomy):
    codes = CrystalCodes(species=((0, 0), (1, 0)), crystal=(0, 0), local=((0, 0, 0, 0),))
    assert roomy.log_likelihood([codes]).item() == -math.inf


def test_codes_of_another_generator_are_refused(roomy):
    codes = CrystalCodes(species=((0, 9),), crystal=(0, 0), local=((0, 0, 0, 0),))
    with pytest.raises(ValueError, match="not codes of the generator"):
        roomy.log_likelihood([codes])


def test_temperature_zero_takes_the_likeliest_code_each_time(tiny):
    cold = tiny.sample(10, seed=0, temperature=0.0)
    assert len(set(cold)) == 1
    mild = tiny.log_likelihood(tiny.sample(500, seed=0, temperature=0.5)).mean()
    assert tiny.log_likelihood(tiny.sample(500, seed=0)).mean() < mild


def test_no_atom_is_put_on_another_one(roomy):
    def coincidences(temperature: Temperatures) -> int:
        codes = roomy.sample(200, seed=0, temperature=temperature)
        places = [[atom[1:] for atom in c.local] for c in codes]
        return sum(len(set(p)) < len(p) for p in places)

    # With four coordinates an axis, eight atoms may leave no free place on a line.
    assert coincidences(Temperatures(spacing=0.2)) < coincidences(Temperatures()) / 3


def test_a_number_scales_the_tuned_temperatures(roomy):
    tuned = Temperatures(geometry=0.8, floor=0.2)
    config = roomy.config.model_copy(update={"sampling": tuned})
    prior = CodePrior(roomy.network, roomy.tables, config, card={})
    assert prior.temperatures(1.0) == tuned
    assert prior.temperatures(0.5).geometry == pytest.approx(0.4)
    assert prior.temperatures(0.5).floor == 0.2
    assert prior.temperatures(Temperatures()) == Temperatures()
    assert prior.sample(5, seed=0) == roomy.sample(5, seed=0, temperature=tuned)


def test_a_negative_temperature_is_refused():
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        Temperatures(geometry=-1.0)


def test_global_draws_follow_their_conditional(tiny, every_crystal):
    base = next(c for c in every_crystal if c.n_species == 2)
    same_atoms = [c for c in every_crystal if c.local == base.local and c.n_species == 2]
    parts = tiny.log_likelihood_parts(same_atoms, geometry_first=True)
    log_p = parts["species"] + parts["crystal"]
    probability = dict(zip(same_atoms, log_p.exp().tolist()))
    assert sum(probability.values()) == pytest.approx(1, abs=1e-4)
    drawn = tiny.sample_global(base, 4000, seed=0)
    assert _total_variation(drawn, probability) < 0.06


@pytest.mark.parametrize(("gene", "tolerance"), [(0, 0.06), (4, 0.03)])
def test_mutation_draws_a_gene_from_its_conditional(tiny, every_crystal, gene, tolerance):
    base = [c for c in every_crystal if c.n_species == 2][77]
    free = {0, 1} if gene == 0 else {4}

    def kept(c: CrystalCodes) -> tuple[int, ...]:
        return tuple(g for i, g in enumerate(c.global_genes) if i not in free)

    same_atoms = [c for c in every_crystal if c.local == base.local and c.n_species == 2]
    others = [c for c in same_atoms if kept(c) == kept(base)]
    parts = tiny.log_likelihood_parts(others, geometry_first=True)
    p = (parts["species"] + parts["crystal"]).softmax(0).tolist()
    drawn = tiny.mutate([base] * 1500, seed=0, genes=[[gene]] * 1500)
    assert _total_variation(drawn, dict(zip(others, p))) < tolerance


def test_mutation_of_so_many_genes_leaves_the_others(roomy):
    codes = roomy.sample(30, seed=0)
    for before, after in zip(codes, roomy.mutate(codes, seed=1, n_genes=1)):
        tokens = sum(a != b for a, b in zip(before.species, after.species))
        levels = sum(a != b for a, b in zip(before.crystal, after.crystal))
        assert tokens + levels <= 1
        assert before.local == after.local


def test_mutation_needs_to_know_what_to_change(roomy):
    codes = roomy.sample(1, seed=0)
    with pytest.raises(ValueError, match="either genes or n_genes"):
        roomy.mutate(codes, seed=0)
    with pytest.raises(ValueError, match="global genes"):
        roomy.mutate(codes, seed=0, genes=[[99]])


def test_a_prior_read_back_is_the_same(roomy):
    again = CodePrior.from_bytes(roomy.to_bytes())
    codes = roomy.sample(20, seed=0)
    assert again.sample(20, seed=0) == codes
    assert torch.equal(again.log_likelihood(codes), roomy.log_likelihood(codes))
    assert again.version == roomy.version
    assert again.card == roomy.card


def test_damaged_bytes_are_refused(roomy):
    payload = roomy.to_bytes()
    for broken in (b"", b"no prior", payload[:-100], payload[:50]):
        with pytest.raises(CorruptPrior):
            CodePrior.from_bytes(broken)


def test_weights_that_are_not_finite_are_refused(roomy):
    payload = roomy.to_bytes()
    tensors = load(payload)
    tensors["network.slot"][0, 0] = math.nan
    metadata = {"prior": json.dumps(read_description(payload))}
    with pytest.raises(CorruptPrior, match=r"not finite.*network\.slot"):
        CodePrior.from_bytes(save(tensors, metadata=metadata))
