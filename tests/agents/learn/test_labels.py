"""Labels: which crystal they belong to, at which level, and what was predicted before."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from agents.learn.labels import collect_labels, count_labels, stored_prediction
from agents.learn.prequential import mark_clean, stored_errors
from agents.learn.settings import LearnSettings
from agents.learn.split import identities, split_in_time, to_samples
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


def names(labels):
    return {x.candidate_id for x in labels} | {x.codes.digest() for x in labels}


def test_equal_crystals_are_not_learned_and_judged(campaign, world):
    """Candidate 2 relaxes to the decoded crystal of candidate 8; 1 and 9 to the same one."""
    ids = world.add_evaluated(campaign, range(10), world.values[:10])
    world.relax(ids[2], world.new[8], -1.0)
    world.relax(ids[1], world.new[50], -1.0)
    world.relax(ids[9], world.new[50], -1.1)
    labels = collect_labels(campaign)
    early, gate = split_in_time(labels, 0.3)
    assert not names(early) & names(gate)
    assert {x.seq for x in gate if x.on == "decoded"} == {7, 8, 9}
    own = {(x.seq, x.on) for x in early if x.seq in (1, 2)}
    assert own == {(1, "decoded"), (2, "decoded")}  # codes equal to their relaxed ones judge

    # what an earlier head learned judges no more: neither the candidate nor equal codes
    for learned in (
        [x for x in labels if x.seq == 8],
        [x for x in labels if x.candidate_id == ids[2] and x.on == "relaxed"],
    ):
        new = [x for x in labels if x not in learned]
        early, gate = split_in_time(new, 0.3, identities(learned))
        assert gate
        assert not names(gate) & (names(learned) | names(early))
        assert 8 not in {x.seq for x in gate}
    early, gate = split_in_time(labels, 0.3, names(labels))
    assert (early, gate) == (labels, [])


def test_a_prediction_by_a_head_that_knew_the_candidate_is_told_apart(campaign, world):
    ids = world.add_evaluated(campaign, range(6), world.values[:6])
    world.relax(ids[0], world.new[30], -1.0)  # its decoded label is learned below
    world.relax(ids[1], world.new[2], -1.0)  # its relaxed crystal is the learned one of number 2
    world.relax(ids[3], world.new[31], -1.0)
    labels = collect_labels(campaign)
    version = SimpleNamespace(
        id="v",
        parent="root",
        sha256=world.head.version + "0" * 52,
        labels={"trained": [f"{ids[2]}:decoded:{TARGET}"]},
    )
    root = SimpleNamespace(
        id="root", parent=None, sha256="f" * 64, labels={"trained": [f"{ids[0]}:decoded:{TARGET}"]}
    )
    marked = mark_clean(labels, labels, [root, version])
    known = {(x.seq, x.on) for x in marked if not x.prequential.clean}
    assert known == {(0, "decoded"), (0, "relaxed"), (1, "relaxed"), (2, "decoded")}
    assert all(x.prequential.clean for x in mark_clean(labels, labels, [root]))
    summary = stored_errors(marked, LearnSettings(), seed=0)[TARGET]
    assert (summary["mae"]["n"], summary["mae_known"]["n"], summary["without"]) == (5, 4, 0)
    own = [abs(x.prequential.value - x.value) for x in marked if not x.prequential.clean]
    assert summary["mae_known"]["mean"] == pytest.approx(sum(own) / 4)


def test_no_crystal_is_learned_and_judged(campaign, world, verified):
    early, gate = split_in_time(collect_labels(campaign), 0.3)
    assert not names(early) & names(gate)
    assert {x.target for x in gate} >= {DFT}
    decoded = [x for x in gate if x.on == "decoded"]
    assert [x.seq for x in decoded] == [x.seq for x in collect_labels(campaign)][7:10]


def test_levels_are_separate_columns(campaign, world, verified):
    samples = to_samples(world, collect_labels(campaign))
    assert len(samples) == 11  # ten decoded crystals and one relaxed
    assert set(samples.values) == {TARGET, DFT, "band_gap@gpaw-26.7.0-pbe-fast"}
    assert len(samples.labelled(TARGET)) == 11
    assert samples.values[DFT][samples.labelled(DFT)].tolist() == [-1.4]
