"""The choice of candidates: order, arms, budget."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from agents.prediction import Prediction
from agents.targets import UNITS, Window
from agents.verify.choice.acquisition import Entry, calls_allowed, choose, is_control, judge
from agents.verify.settings import VerifySettings

WINDOWS = (
    Window(property="formation_energy_per_atom", max=-0.5),
    Window(property="band_gap", min=0.5, max=2.5),
)
ONLY_ORDER = VerifySettings(control_share=0.0)


def predicted(energy: float, *gaps: float) -> tuple[dict[str, Any], ...]:
    records = [prediction("formation_energy_per_atom", energy, "head")]
    for number, gap in enumerate(gaps):
        records.append(prediction("band_gap", gap, f"m{number}"))
    return tuple(records)


def prediction(name: str, value: float, model: str, **changes: Any) -> dict[str, Any]:
    record = Prediction(name, value, UNITS[name], model, "1", "pbe", in_domain=True).record()
    return {**record, **changes}


def entry(name: str, seconds: float, predictions: Any = (), elements: str = "A B") -> Entry:
    return Entry(name, tuple(elements.split()), tuple(predictions), seconds)


def ids(pool: list[Entry], settings: VerifySettings, n: int, **options: Any) -> list[str]:
    options = {"reference_seconds": {}, "seed": 1, "chosen_before": 0, **options}
    return [choice.id for choice in choose(pool, WINDOWS, settings, n=n, **options)]


def test_inside_the_windows_comes_before_cheap() -> None:
    pool = [
        entry("cheap", 1, predicted(-1.0, 5.0)),
        entry("inside", 50, predicted(-1.0, 1.0)),
        entry("inside-cheaper", 40, predicted(-1.0, 2.0)),
    ]
    assert ids(pool, ONLY_ORDER, 3) == ["inside-cheaper", "inside", "cheap"]


def test_every_model_of_the_consensus_must_agree() -> None:
    records = predicted(-1.0, 1.0, 4.0)
    assert judge(records, WINDOWS) == (False, pytest.approx(0.75))
    assert judge(records, WINDOWS, ("head", "m0")) == (True, 0.0)
    assert judge([], WINDOWS) == (False, math.inf)


@pytest.mark.parametrize(
    "changes", [{"in_domain": False}, {"on": "decoded"}, {"level": "castelli2012"}]
)
def test_numbers_that_do_not_mean_what_the_window_means_do_not_count(
    changes: dict[str, Any],
) -> None:
    good = prediction("formation_energy_per_atom", -1.0, "head")
    other = prediction("formation_energy_per_atom", 2.0, "head", **changes)
    ignored = VerifySettings().ignored_levels
    assert judge([good, other], WINDOWS, (), ignored) == (True, 0.0)
    assert judge([other], WINDOWS, (), ignored) == (False, math.inf)


def test_a_negative_gap_means_none() -> None:
    metals = (Window(property="band_gap", max=0.1),)
    assert judge([prediction("band_gap", -0.3, "head")], metals) == (True, 0.0)
    assert judge(predicted(-1.0, -0.3), WINDOWS) == (False, pytest.approx(0.5))


def test_a_gap_that_is_unlikely_is_outside_where_one_is_wanted() -> None:
    unlikely, likely = (prediction("p_gap", p, "classifier") for p in (0.4, 0.6))
    assert judge([*predicted(-1.0, 1.0), likely], WINDOWS) == (True, 0.0)
    assert judge([*predicted(-1.0, 1.0), unlikely], WINDOWS) == (False, pytest.approx(0.25))
    small = (Window(property="band_gap", max=2.0),)
    assert judge([*predicted(-1.0, 1.0), unlikely], small) == (True, 0.0)
    metal = entry("metal", 1, [*predicted(-1.0, 1.0), unlikely])
    pool = [metal, entry("insulator", 50, [*predicted(-1.0, 1.0), likely])]
    assert ids(pool, ONLY_ORDER, 1) == ["insulator"]
    window = VerifySettings(control_share=0.0, acquisition="window")
    assert ids(pool, window, 1) == ["insulator"]


def test_window_mode_prefers_near_misses() -> None:
    settings = VerifySettings(control_share=0.0, acquisition="window")
    pool = [
        entry("far", 1, predicted(1.0, 0.0)),
        entry("near", 80, predicted(-0.6, 2.6)),
    ]
    assert ids(pool, settings, 2) == ["near", "far"]


def test_missing_references_count_once() -> None:
    pool = [
        entry("a", 10, elements="Na Cl"),
        entry("b", 12, elements="K F"),
        entry("c", 14, elements="Na Cl"),
    ]
    costs = {"Na": 30.0, "Cl": 5.0, "K": 20.0, "F": 6.0}
    # b costs 38, a 45; after b the references of a are still missing, after a those of c are paid
    chosen = choose(
        pool, WINDOWS, ONLY_ORDER, reference_seconds=costs, seed=1, chosen_before=0, n=3
    )
    assert [(one.id, one.core_seconds) for one in chosen] == [("b", 38), ("a", 45), ("c", 14)]


def test_unaffordable_and_unsupported_are_never_chosen() -> None:
    pool = [
        entry("slow", 200),
        entry("no set", math.inf),
        entry("no reference", 5, elements="A X"),
        entry("fine", 60),
    ]
    settings = VerifySettings(control_share=0.9, max_core_seconds=100)
    for seed in range(10):
        assert ids(pool, settings, 4, seed=seed, reference_seconds={"X": math.inf}) == ["fine"]


def test_choice_depends_on_seed_and_pool_alone() -> None:
    pool = [entry(f"c{n:02d}", n) for n in range(20)]
    settings = VerifySettings(control_share=0.5)
    first = ids(pool, settings, 8, seed=3)
    assert first == ids(list(reversed(pool)), settings, 8, seed=3)
    assert first != ids(pool, settings, 8, seed=4)


def test_choosing_one_by_one_gives_the_same_calls() -> None:
    pool = [entry(f"c{n:02d}", n) for n in range(20)]
    settings = VerifySettings(control_share=0.4)
    together = ids(pool, settings, 6)
    singly: list[str] = []
    for position in range(6):
        rest = [one for one in pool if one.id not in singly]
        singly += ids(rest, settings, 1, chosen_before=position)
    assert singly == together


def test_control_share_is_kept_and_drawn_uniformly() -> None:
    for seed in range(50):
        controls = [is_control(position, 0.2, seed) for position in range(20)]
        assert sum(controls) == 4
    assert sum(is_control(0, 0.2, seed) for seed in range(500)) == pytest.approx(100, abs=40)
    pool = [entry(f"c{n}", n, predicted(-1.0, 1.0) if n == 0 else ()) for n in range(4)]
    always = VerifySettings(control_share=0.999)
    drawn = [ids(pool, always, 1, seed=seed)[0] for seed in range(400)]
    assert all(60 < drawn.count(name) < 140 for name in ("c0", "c1", "c2", "c3"))


def test_control_calls_are_marked() -> None:
    pool = [entry(f"c{n}", n) for n in range(10)]
    chosen = choose(
        pool, WINDOWS, VerifySettings(), reference_seconds={}, seed=5, chosen_before=0, n=10
    )
    assert [one.control for one in chosen] == [is_control(k, 0.2, 5) for k in range(10)]
    assert sum(one.control for one in chosen) == 2


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"submitted": 0, "completed": 0, "in_flight": 0, "pool": 20, "last": False}, 3),
        ({"submitted": 0, "completed": 0, "in_flight": 0, "pool": 2, "last": False}, 0),
        ({"submitted": 0, "completed": 0, "in_flight": 0, "pool": 2, "last": True}, 2),
        ({"submitted": 3, "completed": 1, "in_flight": 2, "pool": 20, "last": False}, 0),
        ({"submitted": 3, "completed": 1, "in_flight": 0, "pool": 20, "last": False}, 2),
        ({"submitted": 7, "completed": 0, "in_flight": 0, "pool": 20, "last": False}, 1),
        ({"submitted": 8, "completed": 0, "in_flight": 0, "pool": 20, "last": False}, 0),
        ({"submitted": 5, "completed": 3, "in_flight": 0, "pool": 20, "last": True}, 0),
    ],
)
def test_budget(state: dict[str, Any], expected: int) -> None:
    assert calls_allowed(VerifySettings(), **state) == expected


def test_settings_refuse_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="max_completed 9 exceeds max_submitted 8"):
        VerifySettings(max_completed=9)
    with pytest.raises(ValueError, match="lost_seconds"):
        VerifySettings(ping_seconds=60)
    with pytest.raises(ValueError, match="write model:property"):
        VerifySettings(error_widths={"megnet": 0.3})


PROBABLE = VerifySettings(control_share=0.0, acquisition="probability")


def sure(energy: float, gap: float, std: float) -> tuple[dict[str, Any], ...]:
    return tuple({**record, "std": std} for record in predicted(energy, gap))


def test_probability_mode_ranks_by_expected_hits_per_core_hour() -> None:
    pool = [
        entry("sure", 80, sure(-1.0, 1.5, 0.05)),  # 1 for 80 s
        entry("even", 30, sure(-0.5, 1.5, 0.05)),  # 1/2 for 30 s
        entry("quarter", 30, sure(-0.5, 0.5, 0.05)),  # 1/4 for 30 s
        entry("none", 1, sure(2.0, 5.0, 0.05)),
    ]
    assert ids(pool, PROBABLE, 4) == ["even", "sure", "quarter", "none"]
    a_call = PROBABLE.model_copy(update={"cost_exponent": 0.0})
    assert ids(pool, a_call, 4) == ["sure", "even", "quarter", "none"]


def test_probability_mode_finds_the_best_order_of_few_calls() -> None:
    rng = np.random.default_rng(4)
    pool = [
        entry(
            f"c{n}",
            float(rng.uniform(5, 80)),
            sure(rng.normal(-0.5, 0.4), rng.normal(1.0, 0.4), 0.3),
        )
        for n in range(8)
    ]
    chosen = choose(pool, WINDOWS, PROBABLE, reference_seconds={}, seed=1, chosen_before=0, n=3)

    def hits_per_second(names: tuple[str, ...]) -> list[float]:
        by_id = {one.id: one for one in pool}
        found = []
        for name in names:
            energy, gap = by_id[name].predictions
            p = norm.cdf(-0.5, energy["value"], 0.3)
            p *= norm.cdf(2.5, gap["value"], 0.3) - norm.cdf(0.5, gap["value"], 0.3)
            found.append(p / by_id[name].core_seconds)
        return found

    best = max(permutations([one.id for one in pool], 3), key=hits_per_second)
    assert tuple(one.id for one in chosen) == best
    assert [3600 * value for value in hits_per_second(best)] == pytest.approx(
        [one.worth for one in chosen]
    )


def test_missing_references_lower_the_worth_of_those_who_pay_for_them() -> None:
    good = sure(-1.0, 1.5, 0.05)
    pool = [entry("a", 10, good, "Na Cl"), entry("b", 20, good, "K F"), entry("c", 25, good, "Na")]
    costs = {"Na": 30.0, "Cl": 0.0, "K": 0.0, "F": 0.0}
    assert ids(pool, PROBABLE, 3, reference_seconds=costs) == ["b", "a", "c"]


def test_a_known_formula_is_worth_less_where_novelty_is_asked_for() -> None:
    good = sure(-1.0, 1.5, 0.05)
    pool = [replace(entry("known", 10, good), known_formula=True), entry("new", 20, good)]
    assert ids(pool, PROBABLE, 2) == ["known", "new"]
    for weight, first in ((0.5, "known"), (0.9, "new")):  # exp(-w) against one half
        novel = PROBABLE.model_copy(update={"novelty_weight": weight})
        assert ids(pool, novel, 1) == [first]


@pytest.mark.parametrize("mode", ["cheapest", "window", "probability"])
def test_every_choice_records_how_probable_a_hit_is(mode: str) -> None:
    settings = VerifySettings(control_share=0.5, acquisition=mode)
    pool = [entry(f"c{n}", 10 + n, sure(-0.5, 1.5, 0.1)) for n in range(6)]
    chosen = choose(pool, WINDOWS, settings, reference_seconds={}, seed=1, chosen_before=0, n=4)
    assert {one.control for one in chosen} == {True, False}
    for one in chosen:
        record = json.loads(json.dumps(one.record()))
        assert record["hit"]["value"] == pytest.approx(0.5, abs=1e-3)
        models = [o["model"] for w in record["hit"]["windows"] for o in w["opinions"]]
        assert models == ["head", "m0"]
        assert record["rule"]["acquisition"] == mode
        assert record["worth"] == pytest.approx(0.5 * 3600 / one.core_seconds, rel=2e-3)


def test_the_budget_of_core_hours_ends_the_choice_before_it_is_exceeded() -> None:
    good = sure(-1.0, 1.5, 0.05)
    pool = [entry("dear", 90, good), entry("a", 30, good), entry("b", 40, good)]
    assert ids(pool, PROBABLE, 3, remaining_core_seconds=100.0) == ["a", "b"]
    assert ids(pool, PROBABLE, 3, remaining_core_seconds=20.0) == []
