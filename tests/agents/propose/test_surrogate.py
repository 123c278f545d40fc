"""The surrogate on a shipped generator: what it learns, how sure it is, that it repeats itself."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from pymatgen.core import Lattice
from scipy.stats import spearmanr

from agents.propose.code_features import CodeFeatures
from agents.propose.surrogate import CodeSurrogate, TooFewLabels
from agents.relax.recombination import label_codes, recombine
from model.generator import Generator
from model.property.descriptors import descriptors


@pytest.fixture(scope="module")
def perov5():
    return Generator.load("perov5")


@pytest.fixture(scope="module")
def mp20():
    return Generator.load("mp20")


def lattice(cell):
    return Lattice.from_parameters(*cell).matrix


@pytest.fixture(scope="module")
def drawn(perov5):
    return recombine(perov5, 420, np.random.default_rng(0))


@pytest.fixture(scope="module")
def truth(perov5, drawn):
    """An invented property: volume per atom times the largest mean difference, heavy above."""
    crystals = perov5.decode_crystals(drawn)
    volume = descriptors([(c.numbers, c.frac, c.cell) for c in crystals])[:, 164].numpy()
    numbers = np.array([np.std(c.numbers) for c in crystals])
    smooth = 2 * (volume - volume.mean()) / volume.std() + np.sin(numbers / 6)
    values = smooth + 0.15 * np.random.default_rng(1).normal(size=len(drawn))
    return values + np.where(values > 2, (values - 2) ** 3, 0)


@pytest.fixture(scope="module")
def learned(perov5, drawn, truth):
    surrogate = CodeSurrogate(perov5, seed=0)
    surrogate.fit(drawn[:220], truth[:220])
    return surrogate


def test_it_ranks_what_it_never_saw(perov5, drawn, truth, learned):
    mean, _ = learned.predict(drawn[220:])
    assert spearmanr(mean, truth[220:]).statistic > 0.95
    few = CodeSurrogate(perov5, seed=0)
    few.fit(drawn[:16], truth[:16])
    assert spearmanr(few.predict(drawn[220:])[0], truth[220:]).statistic < 0.93


def test_its_intervals_hold_about_what_they_say(drawn, truth, learned):
    mean, std = learned.predict(drawn[220:])
    away = np.abs(truth[220:] - mean) / std
    assert 0.65 < np.mean(away < 1.2816) < 0.95
    assert np.mean(away < 1.96) > 0.85
    heavy = truth[220:] > 3
    assert np.median(std[heavy]) > 2 * np.median(std[~heavy])


def test_equal_labels_and_seed_give_equal_predictions(perov5, drawn, truth, learned):
    again = CodeSurrogate(perov5, seed=0)
    again.fit(drawn[:220], truth[:220])
    np.testing.assert_array_equal(again.predict(drawn[220:]), learned.predict(drawn[220:]))
    again.fit(drawn[:100], truth[:100])
    again.fit(drawn[:220], truth[:220])  # nothing of an earlier fit is left
    np.testing.assert_array_equal(again.predict(drawn[220:]), learned.predict(drawn[220:]))


def test_features_do_not_depend_on_what_was_asked_before(perov5, drawn):
    some = [drawn[i] for i in np.random.default_rng(2).permutation(60)]
    one_by_one = CodeFeatures(perov5)
    rows = np.concatenate([one_by_one([codes]) for codes in some])
    np.testing.assert_array_equal(CodeFeatures(perov5)(some), rows)
    np.testing.assert_array_equal(CodeFeatures(perov5)(some[::-1])[::-1], rows)
    np.testing.assert_array_equal(one_by_one(some[:7] * 2), np.concatenate([rows[:7]] * 2))


def test_features_of_different_sizes_do_not_mix(mp20):
    codes = recombine(mp20, 40, np.random.default_rng(3))
    assert len({c.n_atoms for c in codes}) > 5
    together = CodeFeatures(mp20)(codes)
    alone = CodeFeatures(mp20)
    np.testing.assert_array_equal(together, np.concatenate([alone([c]) for c in codes]))
    assert together.shape == (40, alone.width)


def test_features_are_those_of_the_head(mp20):
    codes = recombine(mp20, 40, np.random.default_rng(4))
    features, head = CodeFeatures(mp20), mp20.head
    rows, raw = features(codes), mp20.features(codes)
    means = head.predict(raw)["formation_energy_per_atom@mp20"][0].numpy()
    np.testing.assert_allclose(rows[:, features.blocks["predicted"]][:, 0], means, atol=1e-3)
    scaled = ((raw - head.feature_mean) / head.feature_scale).numpy()
    back = 3 * np.sinh(rows[:, : head.n_features] / 3)
    np.testing.assert_allclose(back, scaled, atol=1e-2, rtol=1e-2)
    blocks = [features.blocks[name] for name in features.blocks]
    assert [block.start for block in blocks[1:]] == [block.stop for block in blocks[:-1]]
    density = rows[:, features.blocks["density"]][:, 0]
    volumes = [np.linalg.det(lattice(c.cell)) / len(c.numbers) for c in mp20.decode_crystals(codes)]
    assert spearmanr(density, volumes).statistic > 0.9999


def test_a_head_that_learned_from_a_potential_is_not_asked(perov5, mp20):
    assert perov5.card["data"]["labels_sha256"]
    blocks = CodeFeatures(perov5).blocks
    assert blocks["hidden"].start == blocks["hidden"].stop == perov5.head.n_features
    assert CodeFeatures(perov5).width == perov5.head.n_features
    assert not mp20.card["data"]["labels_sha256"]
    assert CodeFeatures(mp20).width > mp20.head.n_features


def test_memory_is_bounded_and_shared_and_freed(perov5, drawn, monkeypatch):
    small = CodeFeatures(perov5, capacity=10)
    small(drawn[:30])
    assert len(small._rows) == 10
    assert CodeFeatures.of(perov5) is CodeFeatures.of(perov5)
    generator = Generator.load("perov5")
    watched = weakref.ref(generator)
    CodeFeatures.of(generator)(drawn[:2])
    del generator
    gc.collect()
    assert watched() is None


def test_known_codes_are_not_computed_again(perov5, drawn, monkeypatch):
    features = CodeFeatures(perov5)
    features(drawn[:40])
    for method in ("_described", "_passed"):
        monkeypatch.setattr(features, method, lambda part: pytest.fail(f"{len(part)} again"))
    assert features(drawn[10:30]).shape == (20, features.width)
    assert len(features.decode(drawn[5:25])) == 20


def test_decoding_is_the_generators_and_not_repeated_for_features(mp20, monkeypatch):
    codes = recombine(mp20, 40, np.random.default_rng(6))
    features = CodeFeatures(mp20)
    for own, crystal in zip(features.decode(codes), mp20.decode_crystals(codes), strict=True):
        np.testing.assert_array_equal(own.numbers, crystal.numbers)
        np.testing.assert_allclose(own.frac, crystal.frac, atol=1e-5)
        np.testing.assert_allclose(own.cell, crystal.cell, rtol=1e-5)
    monkeypatch.setattr(features, "_passed", lambda part: pytest.fail(f"{len(part)} again"))
    assert features(codes).shape == (40, features.width)


def test_labels_it_cannot_learn_from_are_refused(perov5, drawn):
    surrogate = CodeSurrogate(perov5, seed=0)
    assert not surrogate.fitted
    with pytest.raises(TooFewLabels, match="before it saw a label"):
        surrogate.predict(drawn[:1])
    with pytest.raises(TooFewLabels, match="1 labels"):
        surrogate.fit(drawn[:1], np.zeros(1))
    with pytest.raises(ValueError, match="1 of 2 labels are not finite"):
        surrogate.fit(drawn[:2], np.array([0.0, np.inf]))
    with pytest.raises(ValueError, match="2 codes came with values of shape"):
        surrogate.fit(drawn[:2], np.zeros(3))
    surrogate.fit(drawn[:2], np.array([1.0, 1.0]))
    assert surrogate.fitted
    assert surrogate.predict([])[0].shape == (0,)


@pytest.mark.long
def test_it_ranks_recombined_codes_as_chgnet_does(perov5):
    from agents.relax.potential import load_potential
    from agents.relax.references import ElementalReferences

    potential = load_potential("chgnet")
    codes = recombine(perov5, 700, np.random.default_rng(5))
    labels = label_codes(perov5, potential, ElementalReferences.load(potential), codes)
    surrogate = CodeSurrogate(perov5, seed=0)
    surrogate.fit(labels.codes[:400], labels.values[:400])
    mean, std = surrogate.predict(labels.codes[400:])
    assert spearmanr(mean, labels.values[400:]).statistic >= 0.85
    assert 0.65 < np.mean(np.abs(labels.values[400:] - mean) < 1.2816 * std) < 0.92
