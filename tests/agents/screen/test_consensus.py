"""Which predictions count against which window."""

from __future__ import annotations

import pytest

from agents.prediction import Prediction
from agents.screen.consensus import find_consensus
from agents.screen.settings import ScreenSettings
from agents.targets import UNITS, Window

ENERGY = Window(property="formation_energy_per_atom", max=-0.5)
GAP = Window(property="band_gap", min=0.5, max=2.5)
METAL = Window(property="band_gap", max=0.1)


def prediction(name: str, value: float, **changes: object) -> Prediction:
    given: dict[str, object] = {
        "property": name,
        "value": value,
        "unit": UNITS[name],
        "model": "megnet",
        "version": "1",
        "level": "pbe-mp2018",
        "in_domain": True,
    }
    return Prediction(**{**given, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("predictions", "windows", "outside"),
    [
        ([("band_gap", 1.2), ("p_gap", 0.9)], [GAP], []),
        ([("band_gap", 0.4), ("p_gap", 0.9)], [GAP], ["band_gap"]),
        ([("band_gap", 2.5)], [GAP], []),
        ([("band_gap", 1.2), ("p_gap", 0.2)], [GAP], ["p_gap"]),
        ([("band_gap", 0.05), ("p_gap", 0.1)], [METAL], []),  # no gap wanted: none is demanded
        ([("band_gap", -0.2)], [Window(property="band_gap", min=0.0, max=1.0)], []),  # counts as 0
        ([("band_gap", -0.2)], [GAP], ["band_gap"]),
        ([("formation_energy_per_atom", -0.4), ("band_gap", 9.0)], [ENERGY], [ENERGY.property]),
        (
            [("band_gap", 9.0), ("formation_energy_per_atom", 1.0)],
            [ENERGY, GAP],
            [ENERGY.property, "band_gap"],
        ),
        ([], [ENERGY, GAP], []),  # nobody said anything
    ],
)
def test_windows(
    predictions: list[tuple[str, float]], windows: list[Window], outside: list[str]
) -> None:
    found = find_consensus([prediction(*p) for p in predictions], windows, ScreenSettings())
    assert found.outside == outside


def test_one_dissenting_model_is_enough() -> None:
    both = [prediction("band_gap", 1.0), prediction("band_gap", 3.0, model="alignn")]
    found = find_consensus(both, [GAP], ScreenSettings())
    assert [(v.model, v.inside) for v in found.verdicts] == [("megnet", True), ("alignn", False)]
    assert found.outside == ["band_gap"]


@pytest.mark.parametrize("changes", [{"in_domain": False}, {"level": "castelli2012"}])
def test_numbers_that_do_not_apply_are_recorded_and_not_counted(changes: dict[str, object]) -> None:
    wrong = prediction("formation_energy_per_atom", 5.0, **changes)
    found = find_consensus([wrong], [ENERGY], ScreenSettings())
    assert found.outside == []
    [verdict] = found.record()["verdicts"]
    assert (verdict["value"], verdict["inside"], verdict["counted"]) == (5.0, False, False)
    assert found.unjudged == [ENERGY.property]
    if "level" in changes:
        counted = ScreenSettings(gate_ignores_levels=())
        assert find_consensus([wrong], [ENERGY], counted).outside == [ENERGY.property]


def test_record_names_the_windows() -> None:
    energy = prediction("formation_energy_per_atom", -1.0)
    record = find_consensus([energy], [ENERGY, GAP], ScreenSettings(consensus="gate")).record()
    assert record["rule"] == "gate"
    assert record["windows"] == [str(ENERGY), str(GAP)]
    assert (record["outside"], record["unjudged"]) == ([], ["band_gap"])


def test_a_classifier_alone_does_not_judge_the_size_of_a_gap() -> None:
    found = find_consensus([prediction("p_gap", 0.9)], [GAP], ScreenSettings())
    assert (found.outside, found.unjudged) == ([], ["band_gap"])


PAPER = {"agreement": "all", "min_models": 2, "classifier": "required"}
MEGNET_GAP = [("megnet", "band_gap", 1.0), ("megnet", "p_gap", 0.9)]


@pytest.mark.parametrize(
    ("words", "settings", "outside", "unjudged"),
    [
        # the paper's rule: both models inside, and the classifier says that there is a gap
        ([("alignn", "band_gap", 1.1)], PAPER, [], []),
        ([("alignn", "band_gap", 2.6)], PAPER, ["band_gap"], []),
        ([], PAPER, [], ["band_gap"]),
        ([("alignn", "band_gap", 1.1), ("x", "band_gap", 9.0)], PAPER, ["band_gap"], []),
        ([("alignn", "band_gap", 1.1)], {"agreement": 2, "classifier": "required"}, [], []),
        (
            [("alignn", "band_gap", 2.6)],
            {"agreement": 2, "classifier": "required"},
            ["band_gap"],
            [],
        ),
        ([], {"agreement": 2}, [], ["band_gap"]),  # one model is not two
        ([], {"agreement": 1}, [], []),
        ([("alignn", "band_gap", 9.0)], {"agreement": 1}, [], []),  # one of two is enough
        ([("alignn", "band_gap", 9.0)], {"agreement": "all"}, ["band_gap"], []),
        ([("alignn", "band_gap", 9.0), ("x", "band_gap", 1.0)], {"agreement": 2}, [], []),
        ([("alignn", "band_gap", 9.0), ("x", "band_gap", 9.0)], {"agreement": 2}, ["band_gap"], []),
        ([("alignn", "p_gap", 0.1)], {"agreement": 1}, ["p_gap"], []),  # any classifier may veto
        ([("alignn", "p_gap", 0.1)], {"classifier": "off"}, [], []),
    ],
)
def test_how_many_must_agree(
    words: list[tuple[str, str, float]],
    settings: dict[str, object],
    outside: list[str],
    unjudged: list[str],
) -> None:
    known = [prediction(name, value, model=model) for model, name, value in [*MEGNET_GAP, *words]]
    found = find_consensus(known, [GAP], ScreenSettings.model_validate(settings))
    assert (found.outside, found.unjudged) == (outside, unjudged)


@pytest.mark.parametrize(
    ("classifier", "unjudged"), [("required", ["p_gap"]), ("if_present", []), ("off", [])]
)
def test_a_classifier_is_missed_only_where_one_is_required(
    classifier: str, unjudged: list[str]
) -> None:
    settings = ScreenSettings.model_validate({"classifier": classifier})
    found = find_consensus([prediction("band_gap", 1.0)], [GAP], settings)
    assert (found.outside, found.unjudged) == ([], unjudged)
    assert find_consensus([prediction("band_gap", 0.0)], [METAL], settings).unjudged == []


def test_models_of_the_same_data_are_named_in_the_record() -> None:
    words = [prediction("band_gap", 1.0), prediction("band_gap", 1.1, model="alignn")]
    (shared,) = find_consensus(words, [GAP], ScreenSettings()).record()["shared_data"]
    assert (shared["level"], shared["models"]) == ("pbe-mp2018", ["megnet", "alignn"])
    assert "no independent confirmation" in shared["note"]
    assert "OptB88vdW" in shared["note"]
    jarvis = prediction("band_gap", 1.1, model="alignn", level="optb88vdw-jarvis")
    assert find_consensus([words[0], jarvis], [GAP], ScreenSettings()).shared_data == []
    silent = prediction("band_gap", 1.1, model="alignn", in_domain=False)
    assert find_consensus([words[0], silent], [GAP], ScreenSettings()).shared_data == []


def test_a_model_with_two_levels_is_one_model() -> None:
    words = [prediction("band_gap", 1.0, model="head", level=level) for level in ("a", "b")]
    found = find_consensus(words, [GAP], ScreenSettings(agreement=2, models="auto"))
    assert found.unjudged == ["band_gap"]


def test_models_of_bulk_count_on_slabs_only_where_a_campaign_says_so() -> None:
    reason = "vacuum: 15.0 Å of vacuum around a 2D network"
    slab: dict[str, object] = {"in_domain": False, "out_of_domain": (reason,)}
    words = [
        prediction("formation_energy_per_atom", -0.9, **slab),
        prediction("formation_energy_per_atom", -0.3, model="alignn", **slab),
    ]
    strict = find_consensus(words, [ENERGY], ScreenSettings())
    assert strict.unjudged == ["formation_energy_per_atom"]
    assert not any(verdict.counted for verdict in strict.verdicts)
    heard = find_consensus(words, [ENERGY], ScreenSettings(counted_out_of_domain=("vacuum",)))
    assert heard.outside == ["formation_energy_per_atom"]
    assert all(verdict.counted for verdict in heard.verdicts)
    strange = {**slab, "out_of_domain": (reason, "elements: Po")}
    unknown = [prediction("formation_energy_per_atom", -0.9, **strange)]
    found = find_consensus(unknown, [ENERGY], ScreenSettings(counted_out_of_domain=("vacuum",)))
    assert found.unjudged == ["formation_energy_per_atom"]
