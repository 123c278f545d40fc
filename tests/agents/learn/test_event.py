"""Learning events on real labels, through the database."""

from __future__ import annotations

import time

import numpy as np
import pytest

from agents.learn import event
from agents.learn.challenge import Challenge, challenge
from agents.learn.event import due, learn, live_head
from agents.learn.labels import collect_labels, count_labels
from agents.learn.settings import LearnSettings
from db import campaigns, candidates, model_versions
from db.documents import Event, ModelVersion
from db.states import State
from model.property.head import PropertyHead

LEVEL = "chgnet-0.3.0"
TARGET = f"formation_energy_per_atom@{LEVEL}"
SEED = 5
SETTINGS = LearnSettings(min_new_labels=64)
ROWS = range(240)


def mae(head, world, rows):
    codes = [world.new[row] for row in rows]
    means = head.predict(world.features(codes))[TARGET][0].numpy()
    return np.abs(means - world.values[list(rows)]).mean()


def learning_events():
    return [event.data for event in Event.objects(campaign="nitrides", kind="learning")]


def test_promotes_on_good_labels(campaign, world):
    ids = world.add_evaluated(campaign, ROWS, world.values)
    before, version = live_head(campaign, world)
    assert version == world.head.version
    report = learn(campaign, world, SETTINGS, SEED)
    assert report.decision == "promoted"
    assert campaigns.load(campaign).live_model == report.version

    # the challenger never saw the last 72 labels; its error there, recomputed from the stored
    # predictions and from the live head before the event
    gate = report.metrics["prequential"]["targets"][TARGET]
    assert gate["before"]["n"] == 72
    assert gate["before"]["mean"] == pytest.approx(mae(before, world, ROWS[-72:]), rel=1e-5)
    assert gate["after"]["mean"] < 0.9 * gate["before"]["mean"]
    before_after = f"{gate['before']['mean']:.3g} -> {gate['after']['mean']:.3g} eV/atom"
    assert report.reason == (
        f"prequential MAE of {TARGET} {before_after} on 72 labels not seen before; "
        "nothing lost on 700 held-out crystals"
    )
    assert model_versions.load(report.version).reason == report.reason
    stored = report.metrics["stored_prequential"][TARGET]
    assert stored["mae"]["n"] == 240
    assert stored["mae"]["mean"] == pytest.approx(mae(before, world, ROWS), rel=1e-5)
    held_out = report.metrics["held_out"][TARGET]
    assert held_out["after"]["mean"] <= held_out["live"]["high"]

    after, version = live_head(campaign, world)
    assert version == report.version
    assert mae(after, world, ROWS) < mae(before, world, ROWS)
    record = model_versions.load(version)
    assert record.parent is None
    assert sorted(record.labels["trained"]) == sorted(f"{i}:decoded:{TARGET}" for i in ids)
    (told,) = learning_events()
    assert (told["version"], told["decision"]) == (report.version, "promoted")

    assert learn(campaign, world, SETTINGS, SEED).decision == "not_due"
    assert ModelVersion.objects.count() == 1


@pytest.mark.parametrize("corruption", ["shuffled", "shifted"])
def test_refuses_corrupted_labels(campaign, world, corruption):
    shuffled = np.random.default_rng(3).permutation(world.values)
    values = shuffled if corruption == "shuffled" else world.values + 3.0
    world.add_evaluated(campaign, ROWS, values)
    report = learn(campaign, world, SETTINGS, SEED)
    assert report.decision == "refused"
    assert report.reason
    assert campaigns.load(campaign).live_model is None
    assert live_head(campaign, world)[0] is world.head
    # stored either way, with its weights and the numbers behind the decision
    record = model_versions.load(report.version)
    assert (record.decision, record.reason) == ("refused", report.reason)
    head = PropertyHead.from_bytes(model_versions.load_payload(report.version))
    assert mae(head, world, ROWS) != mae(world.head, world, ROWS)
    assert not due(campaign, SETTINGS, last=True)


@pytest.fixture
def quick(monkeypatch, world):
    """Replace training and judgement by a fixed, slightly different head that passes."""

    def passed(generator, live, *, learned, new, **_):
        head = live.clone()
        head.target_mean += 0.25
        metrics = {"learned": len(learned), "prequential": {"targets": {}}, "held_out": {}}
        return Challenge(head, None, list(new), list(new)[-3:], metrics)

    monkeypatch.setattr(event, "challenge", passed)


def test_a_new_event_needs_new_labels(campaign, world, quick):
    world.add_evaluated(campaign, range(63), world.values[:63])
    assert not due(campaign, SETTINGS)
    assert due(campaign, SETTINGS, last=True)
    world.add_evaluated(campaign, [63], world.values[63:64])
    assert due(campaign, SETTINGS)
    first = learn(campaign, world, SETTINGS, SEED)
    assert not due(campaign, SETTINGS, last=True)
    world.add_evaluated(campaign, range(64, 128), world.values[64:128])
    second = learn(campaign, world, SETTINGS, SEED)
    assert model_versions.load(second.version).parent == first.version
    assert second.metrics["learned"] == 64
    assert len(model_versions.load(second.version).labels["trained"]) == 64


def test_a_concurrent_swap_is_not_overwritten(campaign, world, quick, monkeypatch):
    world.add_evaluated(campaign, range(70), world.values[:70])
    store = model_versions.store

    def another_goes_live(*args, **kwargs):
        version = store(*args, **kwargs)
        assert campaigns.swap_live_model(campaign, None, "nitrides-other")
        return version

    monkeypatch.setattr(event.model_versions, "store", another_goes_live)
    report = learn(campaign, world, SETTINGS, SEED)
    assert report.decision == "superseded"
    assert campaigns.load(campaign).live_model == "nitrides-other"
    assert learning_events()[0]["decision"] == "superseded"


class Killed(BaseException):
    """Stands for a kill -9."""


@pytest.mark.parametrize("where", ["swap", "event"])
def test_a_crash_after_storing_is_finished_by_the_next_call(
    campaign, world, quick, monkeypatch, where
):
    world.add_evaluated(campaign, range(70), world.values[:70])

    def killed(*_, **__):
        raise Killed

    owner, name = (campaigns, "swap_live_model") if where == "swap" else (event.events, "record")
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed)
        with pytest.raises(Killed):
            learn(campaign, world, SETTINGS, SEED)
    (stored,) = ModelVersion.objects
    assert campaigns.load(campaign).live_model == (None if where == "swap" else stored.id)
    assert learn(campaign, world, SETTINGS, SEED).decision == "not_due"
    assert campaigns.load(campaign).live_model == stored.id
    assert [told["decision"] for told in learning_events()] == ["promoted"]


def test_a_crash_before_storing_leaves_nothing_and_gives_the_same_again(
    campaign, world, monkeypatch
):
    world.add_evaluated(campaign, range(40), world.values[:40])
    settings = SETTINGS.model_copy(
        update={"finetune": SETTINGS.finetune.model_copy(update={"epochs": 1, "replay": 0.2})}
    )
    payloads = []
    store = model_versions.store

    def killed_once(name, kind, payload, **fields):
        payloads.append(payload)
        if len(payloads) == 1:
            raise Killed
        return store(name, kind, payload, **fields)

    monkeypatch.setattr(event.model_versions, "store", killed_once)
    with pytest.raises(Killed):
        learn(campaign, world, settings, SEED)
    assert ModelVersion.objects.count() == 0
    assert learning_events() == []
    learn(campaign, world, settings, SEED)
    assert payloads[0] == payloads[1]


def test_dft_results_get_outputs_of_their_own(campaign, world):
    ids = world.add_evaluated(campaign, range(60), world.values[:60])
    for row, candidate_id in enumerate(ids[:4]):
        for state in (State.PRESCREENED, State.RELAXING):
            world.move(candidate_id, state)
        energy = float(world.values[row]) - 0.1
        relaxation = {"formation_energy_per_atom": energy, "level": LEVEL}
        world.move(candidate_id, State.RELAXED, updates={"relaxation": relaxation})
        codes = {"relaxed_codes": world.new[row].record()}
        world.move(candidate_id, State.SCREENED, updates=codes)
        world.move(candidate_id, State.SELECTED)
        world.move(candidate_id, State.VERIFYING)
        result = {"level": "gpaw-x", "formation_energy_per_atom": energy, "band_gap": 1.0 + row}
        world.move(candidate_id, State.VERIFIED, updates={"verification": result})
    assert count_labels(campaign) == {"potential": 64, "dft": 8}
    settings = SETTINGS.model_copy(update={"min_new_labels": 1000})
    assert due(campaign, settings)  # DFT results alone start a learning event
    report = learn(campaign, world, SETTINGS, SEED)
    assert not due(campaign, settings, last=True)
    head = PropertyHead.from_bytes(model_versions.load_payload(report.version))
    assert set(head.targets) == {
        TARGET,
        "formation_energy_per_atom@gpaw-x",
        "band_gap@gpaw-x",
    }
    targets = report.metrics["prequential"]["targets"]
    assert not targets["band_gap@gpaw-x"]["judged"]  # two labels decide nothing on their own
    assert targets["band_gap@gpaw-x"]["difference"]["n"] == 2
    assert TARGET in report.metrics["held_out"]
    # judged on two labels is not proven: such an output decides nothing, and has no spread
    assert set(head.proven) <= {TARGET}
    assert "band_gap@gpaw-x" in head.uncalibrated


def test_a_promoted_head_is_proven_on_what_judged_it(campaign, world):
    world.add_evaluated(campaign, ROWS, world.values)
    report = learn(campaign, world, SETTINGS, SEED)
    assert report.decision == "promoted"
    head, _ = live_head(campaign, world)
    assert (world.head.proven, head.proven, head.uncalibrated) == ([], [TARGET], [])


def test_known_crystals_judge_nothing_and_too_few_judges_end_the_event(
    campaign, world, quick, monkeypatch
):
    """The second event has relaxed labels only, of candidates learned in the first."""
    ids = world.add_evaluated(campaign, range(64), world.values[:64])
    learn(campaign, world, SETTINGS, SEED)
    for row, candidate_id in enumerate(ids):
        world.relax(candidate_id, world.new[100 + row], world.values[100 + row])
    assert due(campaign, SETTINGS)
    monkeypatch.setattr(event, "challenge", challenge)
    report = learn(campaign, world, SETTINGS, SEED)
    assert (report.decision, report.version) == ("refused", None)
    assert report.reason.startswith("too_few_to_judge: 0 new labels")
    assert learning_events()[-1]["reason"] == report.reason
    assert not due(campaign, SETTINGS, last=True)
    assert report.metrics["stored_prequential"][TARGET]["mae"]["n"] == 64


def test_crystals_of_the_training_set_judge_nothing(campaign, world, monkeypatch):
    known = [world.bank.codes(int(row)) for row in world.bank.rows("train")[:40]]
    monkeypatch.setattr(world, "new", [*world.new[:30], *known])
    world.add_evaluated(campaign, range(70), np.zeros(70))
    quick = SETTINGS.finetune.model_copy(update={"epochs": 1, "replay": 0.1})
    learn(campaign, world, SETTINGS.model_copy(update={"finetune": quick}), SEED)
    (version,) = ModelVersion.objects
    ids = [key.split(":")[0] for key in version.labels["gate"]]
    judged = {candidates.load(i).codes_hash for i in ids}
    assert len(judged) == 21
    assert judged <= {codes.digest() for codes in world.new[:30]}


def test_held_out_crystals_are_never_learned(campaign, world, monkeypatch):
    held_out = [world.bank.codes(int(row)) for row in world.bank.rows("val")[:5]]
    monkeypatch.setattr(world, "new", [*held_out, *world.new])
    world.add_evaluated(campaign, range(70), np.zeros(70))
    given = []

    def stop(generator, live, *, learned, new, **_):
        given.extend(new)
        return Challenge(None, "stopped", [], [], {})

    monkeypatch.setattr(event, "challenge", stop)
    report = learn(campaign, world, SETTINGS, SEED)
    assert report.metrics["equal_to_held_out"] == 5
    assert len(given) == 65
    assert not {x.codes for x in given} & set(held_out)


def test_only_one_worker_learns(campaign, world, quick):
    world.add_evaluated(campaign, range(70), world.values[:70])
    assert campaigns.claim_learning(campaign, "another", 60)
    assert learn(campaign, world, SETTINGS, SEED).decision == "busy"
    assert ModelVersion.objects.count() == 0
    campaigns.release_learning(campaign, "another")
    assert learn(campaign, world, SETTINGS, SEED).decision == "promoted"
    assert campaigns.claim_learning(campaign, "another", 60)  # given back


def test_an_event_that_always_fails_is_given_up(campaign, world, monkeypatch):
    world.add_evaluated(campaign, range(70), world.values[:70])

    def fails(*_, **__):
        raise ValueError("no such output")

    monkeypatch.setattr(event, "challenge", fails)
    for _ in range(3):
        assert due(campaign, SETTINGS, last=True)
        with pytest.raises(ValueError, match="no such output"):
            learn(campaign, world, SETTINGS, SEED)
    assert not due(campaign, SETTINGS)
    assert not due(campaign, SETTINGS, last=True)
    failed = Event.objects(campaign=campaign, kind="learning_failed")
    assert {e.data["error"] for e in failed} == {"ValueError: no such output"}
    assert failed[0].data["labels"] == {"potential": 70, "dft": 0}
    world.add_evaluated(campaign, [70], world.values[70:71])
    assert due(campaign, SETTINGS)  # something new to try with


def test_the_gate_takes_at_most_half():
    with pytest.raises(ValueError, match="gate_fraction"):
        LearnSettings(gate_fraction=0.6)


def test_labels_are_counted_as_they_are_collected(campaign, world):
    world.add_evaluated(campaign, range(5), world.values[:5])
    assert count_labels(campaign) == {"potential": 5, "dft": 0}
    assert [label.value for label in collect_labels(campaign)] == world.values[:5].tolist()
    assert {label.target for label in collect_labels(campaign)} == {
        f"formation_energy_per_atom@{LEVEL}"
    }


def test_a_slow_learner_keeps_its_claim(campaign, world, quick, monkeypatch):
    world.add_evaluated(campaign, range(70), world.values[:70])
    monkeypatch.setattr(event, "CLAIM_SECONDS", 1.0)
    passed = event.challenge

    def slow(*arguments, **named):
        time.sleep(2.5)
        assert not campaigns.claim_learning(campaign, "host/other", 1.0)
        return passed(*arguments, **named)

    monkeypatch.setattr(event, "challenge", slow)
    assert learn(campaign, world, SETTINGS, SEED).decision == "promoted"
    assert campaigns.claim_learning(campaign, "host/other", 1.0)
