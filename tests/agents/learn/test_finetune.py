"""Fine-tuning: rehearsal, levels of theory, and the numbers of the judgement."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import bootstrap

from agents.learn.bootstrap import bootstrap_mean
from agents.learn.finetune import fine_tune, row_weights
from agents.learn.promotion import absolute_errors, judge_held_out, judge_prequential
from agents.learn.samples import Samples, from_bank, from_codes
from agents.learn.settings import FineTuneSettings, LearnSettings
from agents.learn.targets import nearest_target, widen

TARGET = "formation_energy_per_atom@chgnet-0.3.0"
DFT = "formation_energy_per_atom@gpaw-pbe"
GAP = "band_gap@gpaw-pbe"
SETTINGS = FineTuneSettings(epochs=12)


@pytest.fixture(scope="module")
def new(world):
    return from_codes(world, world.new, {TARGET: world.values})


@pytest.fixture(scope="module")
def replay(world):
    return from_bank(world, world.bank.rows("train"))


@pytest.fixture(scope="module")
def held_out(world):
    return from_bank(world, world.bank.rows("val"))


def error(head, samples, target=TARGET):
    return absolute_errors(head, samples)[target].mean()


def test_rehearsal_protects_what_was_known(world, new, replay, held_out):
    nothing = replay.take(np.arange(0))
    # labels that teach something else: the known crystals would follow without rehearsal
    wrong = Samples(new.features, {TARGET: new.values[TARGET] + 2})
    forgetful = fine_tune(world.head, wrong, nothing, SETTINGS, seed=0)
    rehearsed = fine_tune(world.head, wrong, replay, SETTINGS, seed=0)
    before = error(world.head, held_out)
    assert error(forgetful, held_out) > 5 * before
    assert error(rehearsed, held_out) < 1.5 * before


def test_a_new_level_learns_its_own_offset_only(world, new, replay, held_out):
    # a level of theory 0.5 eV/atom higher: its output moves there, the potential's stays
    labels = Samples(new.features, {DFT: new.values[TARGET] + 0.5})
    start = widen(world.head, {DFT: labels.values[DFT]}, "chgnet-0.3.0")
    assert error(start, labels, DFT) == pytest.approx(
        np.abs(start.predict(new.features)[TARGET][0].numpy() - labels.values[DFT]).mean()
    )
    head = fine_tune(start, labels, replay, SETTINGS, seed=0)
    predicted = head.predict(held_out.features)
    offset = (predicted[DFT][0] - predicted[TARGET][0]).numpy()
    assert 0.25 < np.median(offset) < 0.75
    assert error(head, held_out) < 1.15 * error(world.head, held_out)
    assert error(head, labels, DFT) < 0.6 * error(start, labels, DFT)


def test_an_unknown_property_starts_as_the_mean_of_its_labels(world, new):
    gaps = np.linspace(0, 2, 11)
    head = widen(world.head, {GAP: gaps}, "chgnet-0.3.0")
    mean = head.predict(new.features)[GAP][0].numpy()
    assert np.allclose(mean, 1.0, atol=1e-5)
    assert np.array_equal(
        head.predict(new.features)[TARGET][0], world.head.predict(new.features)[TARGET][0]
    )


def test_the_nearest_level_is_the_potentials():
    known = ["formation_energy_per_atom@castelli2012", "formation_energy_per_atom@chgnet-0.3.0"]
    assert nearest_target(DFT, known, "chgnet-0.3.0") == known[1]
    assert nearest_target(DFT, known, "mace") == known[0]
    assert nearest_target(known[0], known, "chgnet-0.3.0") == known[0]
    assert nearest_target(GAP, known, "chgnet-0.3.0") is None


def test_equal_seeds_give_equal_heads_and_the_start_is_untouched(world, new, replay):
    quick = SETTINGS.model_copy(update={"epochs": 1})
    few = replay.take(np.arange(300))
    before = world.head.version
    first, second, other = (fine_tune(world.head, new, few, quick, seed) for seed in (1, 1, 2))
    assert first.version == second.version != other.version
    assert world.head.version == before != first.version


def test_labels_without_an_output_are_refused(world, new, replay):
    with pytest.raises(ValueError, match=r"no output for \['band_gap@gpaw-pbe'\]: widen it"):
        fine_tune(world.head, Samples(new.features, {GAP: world.values}), replay, SETTINGS, 0)
    with pytest.raises(ValueError, match="at least one label"):
        fine_tune(world.head, new.take(np.arange(0)), replay, SETTINGS, 0)


def test_rare_targets_weigh_more():
    columns = np.full((2, 104), np.nan)
    columns[0, :100] = 1.0
    columns[1, 100:] = 1.0
    assert row_weights(columns, 10.0).tolist() == [1.0] * 100 + [5.0] * 4
    assert row_weights(columns, 3.0)[-1] == 3.0


def test_the_bootstrap_agrees_with_scipy():
    values = np.random.default_rng(0).exponential(size=60)
    ours = bootstrap_mean(values, samples=4000, confidence=0.9, seed=1)
    theirs = bootstrap(
        (values,), np.mean, n_resamples=4000, confidence_level=0.9, method="percentile", rng=2
    ).confidence_interval
    assert ours.mean == values.mean()
    assert ours.low == pytest.approx(theirs.low, abs=0.02)
    assert ours.high == pytest.approx(theirs.high, abs=0.02)
    assert ours.n == 60


class Biased:
    """A head whose error is known: it predicts the truth plus a bias."""

    def __init__(self, truth, bias):
        import torch

        self.truth, self.bias = torch.from_numpy(truth), torch.as_tensor(bias)
        self.targets = [TARGET]
        self.target_scale = torch.ones(1)

    def predict(self, features):
        return {TARGET: (self.truth + self.bias, self.bias * 0)}


@pytest.fixture
def judged():
    import torch

    truth = np.random.default_rng(0).normal(size=50)
    samples = Samples(torch.zeros(50, 1), {TARGET: truth})
    return truth, samples


def test_the_point_estimate_must_not_be_worse(judged):
    truth, samples = judged
    settings = LearnSettings()
    live = Biased(truth, 0.10)
    better = judge_prequential(live, Biased(truth, 0.09), samples, samples, settings, 0)
    assert better.promoted
    assert better.metrics["targets"][TARGET]["difference"]["mean"] == pytest.approx(-0.01)
    worse = judge_prequential(live, Biased(truth, 0.101), samples, samples, settings, 0)
    assert worse.reason == "prequential_worse"
    unskilled = judge_prequential(
        Biased(truth, 9.0), Biased(truth, 2.0), samples, samples, settings, 0
    )
    assert unskilled.reason == f"no_skill: {TARGET}"


def test_held_out_error_stays_within_every_reference(judged):
    truth, samples = judged
    noise = np.random.default_rng(1).normal(size=50) * 0.1
    shipped, live = Biased(truth, noise), Biased(truth, noise * 1.2)
    settings = LearnSettings()
    bound = bootstrap_mean(np.abs(noise), samples=1000, confidence=0.95, seed=0).high
    factor = bound / np.abs(noise).mean()

    def judge(scale):
        heads = {"live": live, "shipped": shipped}
        return judge_held_out(heads, Biased(truth, noise * scale), samples, settings, 0)

    assert judge(0.99 * factor).promoted
    # within the live head's interval, but outside the shipped one's: no ratchet
    assert judge(1.05 * factor).reason == f"held_out_worse: {TARGET}"


def test_samples_keep_their_labels():
    import torch

    samples = Samples(torch.arange(6.0).reshape(3, 2), {"a@x": np.array([1.0, np.nan, 3.0])})
    assert samples.labelled("a@x").tolist() == [0, 2]
    assert samples.labelled("b@x").tolist() == []
    assert samples.take(np.array([2])).values["a@x"].tolist() == [3.0]
    assert np.isnan(samples.columns(["b@x"])).all()
    assert dataclasses.is_dataclass(samples)
