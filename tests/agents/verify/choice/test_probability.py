"""The probability of a hit: against sampling, for one model and for several that disagree."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from agents.prediction import Prediction
from agents.targets import Window
from agents.verify.choice.probability import (
    OWN,
    ErrorWidth,
    counted,
    hit_probability,
    inside,
    measured_widths,
)

ENERGY = Window(property="formation_energy_per_atom", max=-0.5)
GAP = Window(property="band_gap", min=0.5, max=2.5)
SMALL_GAP = Window(property="band_gap", min=0.0, max=0.4)
UNITS = {"band_gap": "eV", "formation_energy_per_atom": "eV/atom", "p_gap": "1"}
DRAWS = 400_000


def said(name: str, value: float, std: float | None = None, model: str = "m") -> dict[str, Any]:
    found = Prediction(name, value, UNITS[name], model, "1", "pbe", in_domain=True, std=std)
    return found.record()


def probability(predictions: list[dict[str, Any]], *windows: Window) -> float:
    return hit_probability(predictions, windows, unpredicted=0.1, widths={}).value


@pytest.mark.parametrize("window", [ENERGY, GAP, SMALL_GAP, Window(property="band_gap", min=1.0)])
@pytest.mark.parametrize(("value", "std"), [(-0.7, 0.3), (0.6, 0.5), (2.4, 1.1), (0.1, 0.02)])
def test_one_model_is_what_sampling_finds(window: Window, value: float, std: float) -> None:
    drawn = value + std * np.random.default_rng(1).standard_normal(DRAWS)
    if window.property == "band_gap":
        drawn = np.maximum(drawn, 0.0)  # no gap
    expected = np.mean([window.contains(x) for x in drawn[:20_000].tolist()])
    assert inside(window, value, std) == pytest.approx(expected, abs=0.015)


def test_two_windows_two_models_and_a_classifier_are_what_sampling_finds() -> None:
    predictions = [
        said("formation_energy_per_atom", -0.6, 0.2, "a"),
        said("band_gap", 0.8, 0.6, "a"),
        said("band_gap", 3.0, 0.3, "b"),
        said("p_gap", 0.7, model="c"),
        said("p_gap", 0.9, model="d"),
    ]
    rng = np.random.default_rng(2)
    energy = -0.6 + 0.2 * rng.standard_normal(DRAWS)
    models = np.stack(
        [0.8 + 0.6 * rng.standard_normal(DRAWS), 3 + 0.3 * rng.standard_normal(DRAWS)]
    )
    gap = models[rng.integers(2, size=DRAWS), np.arange(DRAWS)]  # a random model is right
    there = rng.random(DRAWS) < np.array([0.7, 0.9])[rng.integers(2, size=DRAWS)]
    for window in (GAP, SMALL_GAP):
        assert window.max is not None
        assert window.min is not None
        within = (gap <= window.max) & ((gap >= window.min) | (window.min == 0))
        good = np.where(there, within, window.contains(0.0))
        expected = np.mean((energy <= -0.5) & good)
        assert probability(predictions, ENERGY, window) == pytest.approx(expected, abs=0.004)


def test_models_that_contradict_each_other_make_it_unsure() -> None:
    near, far = said("band_gap", 1.5, 0.1, "a"), said("band_gap", 6.0, 0.1, "b")
    assert probability([near], GAP) == pytest.approx(1.0, abs=1e-6)
    assert probability([near, far], GAP) == pytest.approx(0.5, abs=1e-6)


def test_without_classifier_what_lies_below_zero_is_a_metal() -> None:
    metal = said("band_gap", -0.4, 0.2)
    assert probability([metal], SMALL_GAP) == pytest.approx(1.0, abs=1e-3)
    assert probability([metal], GAP) < 1e-4


def test_a_width_is_the_models_own_or_a_measured_one_or_it_does_not_count() -> None:
    widths = {("m", "1", "band_gap"): ErrorWidth(0.4, 900, "held-out crystals")}
    for std, width, source in ((0.2, 0.2, OWN), (None, 0.4, "held-out crystals")):
        found = hit_probability([said("band_gap", 0.5, std)], [GAP], unpredicted=0.1, widths=widths)
        (opinion,) = found.windows[0].opinions
        assert opinion.std == width
        assert source in opinion.source
        assert found.value == pytest.approx(0.5, abs=1e-4)
    unknown = said("band_gap", 1.0, model="other")
    found = hit_probability([unknown], [GAP], unpredicted=0.1, widths=widths)
    assert found.left_out == ("other 1 (band_gap)",)
    assert (found.value, found.windows[0].predicted) == (0.1, False)


def test_a_campaign_may_give_a_width_but_not_take_a_models_own() -> None:
    widths = {("m", "1", "band_gap"): ErrorWidth(0.4, 900, "held-out crystals")}
    for std, width in ((None, 0.7), (0.2, 0.2)):
        found = hit_probability(
            [said("band_gap", 0.5, std)],
            [GAP],
            unpredicted=0.1,
            given={"m:band_gap": 0.7},
            widths=widths,
        )
        assert found.windows[0].opinions[0].std == width


def test_out_of_its_domain_a_model_counts_only_if_allowed_and_by_the_given_width() -> None:
    slab = {
        **said("band_gap", 0.5, 0.05),
        "in_domain": False,
        "out_of_domain": ["vacuum: 15.0 Å of vacuum around a 2D network"],
    }
    assert counted([slab], (), ()) == []
    assert counted([slab], (), (), ("vacuum",)) == [slab]
    strange = {**slab, "out_of_domain": [*slab["out_of_domain"], "elements: Po"]}
    assert counted([strange], (), (), ("vacuum",)) == []
    unproven = {**slab, "out_of_domain": []}
    assert counted([unproven], (), (), ("vacuum",)) == []
    for given, width in (({"m:band_gap": 0.7}, 0.7), ({}, 0.05)):
        found = hit_probability([slab], [GAP], unpredicted=0.1, given=given, widths={})
        assert found.windows[0].opinions[0].std == width


def test_what_nothing_predicts_counts_as_the_settings_say() -> None:
    assert probability([], ENERGY, GAP) == pytest.approx(0.01)
    assert probability([said("p_gap", 0.6)], GAP) == pytest.approx(0.06)


def test_a_sure_model_is_a_step() -> None:
    assert inside(GAP, 1.0, 0.0) == 1.0
    assert inside(GAP, 0.4, 0.0) == 0.0


def test_only_the_last_word_on_the_relaxed_crystal_counts() -> None:
    earlier, later = said("band_gap", 1.0, 0.1), said("band_gap", 5.0, 0.1)
    decoded = {**earlier, "on": "decoded"}
    outside = {**earlier, "in_domain": False, "model": "n"}
    elsewhere = {**earlier, "level": "castelli2012", "model": "o"}
    records = [earlier, later, decoded, outside, elsewhere]
    assert counted(records, (), ("castelli2012",)) == [later]
    assert counted(records, ("n",), ()) == []


def test_the_measured_widths_are_those_of_the_models_that_give_none() -> None:
    widths = measured_widths()
    assert {name for name, _, _ in widths} >= {"megnet"}
    for width in widths.values():
        assert 0.01 < width.std < 2.0
        assert width.n >= 100
        assert width.source
    energy = widths["megnet", "mp-2018.6.1", "formation_energy_per_atom"].std
    assert energy > 0.028  # the published mean error, on crystals more like those learned from


def test_the_record_is_plain_json() -> None:
    import json

    found = hit_probability([said("band_gap", 1.0, 0.2)], [GAP], unpredicted=0.1, widths={})
    record = json.loads(json.dumps(found.record()))
    assert record["windows"][0]["opinions"][0]["model"] == "m"
    assert math.isclose(record["value"], found.value)
