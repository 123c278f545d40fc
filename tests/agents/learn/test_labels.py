"""Labels: which crystal they belong to, at which level, and what was predicted before."""

from __future__ import annotations

import pytest

from agents.learn.labels import collect_labels, count_labels, stored_prediction
from agents.learn.prequential import stored_errors
from agents.learn.settings import LearnSettings
from agents.learn.split import split_in_time, to_samples
from db.states import State

LEVEL = "chgnet-0.3.0"
TARGET = f"formation_energy_per_atom@{LEVEL}"
DFT = "formation_energy_per_atom@gpaw-26.7.0-pbe-fast"


@pytest.fixture
def verified(campaign, world):
    """Ten evaluated candidates; one relaxes to another crystal and goes through DFT."""
    ids = world.add_evaluated(campaign, range(10), world.values[:10])
    relaxed = world.new[100]
    world.move(ids[3], State.PRESCREENED)
    world.move(ids[3], State.RELAXING)
    relaxation = {"formation_energy_per_atom": -1.5, "level": LEVEL, "converged": True}
    world.move(ids[3], State.RELAXED, updates={"relaxation": relaxation})
    world.move(
        ids[3],
        State.SCREENED,
        updates={"relaxed_codes": relaxed.record()},
        predictions=world.predictions([relaxed], "relaxed"),
    )
    world.move(ids[3], State.SELECTED)
    world.move(ids[3], State.VERIFYING)
    verification = {
        "level": "gpaw-26.7.0-pbe-fast",
        "formation_energy_per_atom": -1.4,
        "band_gap": 0.9,
    }
    world.move(ids[3], State.VERIFIED, updates={"verification": verification})
    return ids[3]


def test_verified_labels_belong_to_the_relaxed_codes(campaign, world, verified):
    labels = collect_labels(campaign)
    assert len(labels) == 13
    assert [label.at for label in labels] == sorted(label.at for label in labels)
    own = {(label.on, label.target): label for label in labels if label.candidate_id == verified}
    assert own["decoded", TARGET].codes == world.new[3]
    assert own["decoded", TARGET].value == world.values[3]
    assert own["relaxed", TARGET].value == -1.5
    assert own["relaxed", DFT].value == -1.4
    assert own["relaxed", "band_gap@gpaw-26.7.0-pbe-fast"].value == 0.9
    assert {label.codes for (on, _), label in own.items() if on == "relaxed"} == {world.new[100]}
    assert {label.source for label in labels} == {"potential", "dft"}
    assert count_labels(campaign) == {"potential": 11, "dft": 2}


def test_the_prediction_of_a_label_was_stored_before_it(campaign, world, verified):
    labels = {label.key: label for label in collect_labels(campaign)}
    decoded = labels[f"{verified}:decoded:{TARGET}"].prequential
    relaxed = labels[f"{verified}:relaxed:{TARGET}"].prequential
    dft = labels[f"{verified}:relaxed:{DFT}"].prequential
    (own,), (other,) = (world.predictions([world.new[i]], "x") for i in (3, 100))
    assert decoded.value == pytest.approx(own["value"], abs=1e-4)
    assert relaxed.value == dft.value == pytest.approx(other["value"], abs=1e-4)
    assert decoded.same_level
    assert relaxed.same_level
    assert not dft.same_level  # the nearest level stands in, and the record says so
    assert dft.target == TARGET
    assert labels[f"{verified}:relaxed:band_gap@gpaw-26.7.0-pbe-fast"].prequential is None
    summary = stored_errors(list(labels.values()), LearnSettings(), seed=0)
    assert summary[DFT]["other_level"] == 1
    assert summary[DFT]["mae"]["mean"] == pytest.approx(abs(other["value"] + 1.4), abs=1e-4)
    assert summary["band_gap@gpaw-26.7.0-pbe-fast"] == {
        "mae": None,
        "mae_known": None,
        "without": 1,
        "other_level": 0,
    }


def test_only_the_first_prediction_counts():
    def prediction(value, level=LEVEL, on="relaxed", model="head"):
        return {
            "property": "formation_energy_per_atom",
            "value": value,
            "model": model,
            "version": "v",
            "level": level,
            "on": on,
        }

    stored = [
        prediction(0.0, model="megnet"),
        prediction(1.0, on="decoded"),
        prediction(2.0, level="castelli2012"),
        prediction(3.0),
        prediction(4.0),
    ]
    assert stored_prediction(stored, TARGET, "relaxed", LEVEL).value == 3.0
    assert stored_prediction(stored, DFT, "relaxed", LEVEL).value == 3.0
    assert stored_prediction(stored, DFT, "relaxed", "another").value == 2.0
    assert stored_prediction(stored[:1], TARGET, "relaxed", LEVEL) is None


def test_no_crystal_is_learned_and_judged(campaign, world, verified):
    early, gate = split_in_time(collect_labels(campaign), 0.3)
    assert not {x.candidate_id for x in early} & {x.candidate_id for x in gate}
    assert {x.target for x in gate} >= {DFT}
    decoded = [x for x in gate if x.on == "decoded"]
    assert [x.seq for x in decoded] == [x.seq for x in collect_labels(campaign)][7:10]


def test_levels_are_separate_columns(campaign, world, verified):
    samples = to_samples(world, collect_labels(campaign))
    assert len(samples) == 11  # ten decoded crystals and one relaxed
    assert set(samples.values) == {TARGET, DFT, "band_gap@gpaw-26.7.0-pbe-fast"}
    assert len(samples.labelled(TARGET)) == 11
    assert samples.values[DFT][samples.labelled(DFT)].tolist() == [-1.4]
