"""Screens with the shipped generator: its training set as reference, its codes and its head."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from agents.screen.head import HeadScreen, head_predictions
from agents.screen.models import ScreenModels
from agents.screen.references import training_reference
from agents.screen.screen import Refusal
from agents.screen.settings import ScreenSettings
from agents.screen.stage import ScreenStage
from db.crystals import structure_to_record
from db.states import State
from model.codes import CrystalCodes
from model.generator import Generator


@pytest.fixture(scope="module")
def perov5() -> Generator:
    return Generator.load("perov5")


def relaxed(structure: Any, seq: int) -> Any:
    """A candidate whose relaxation ended in this crystal."""
    record = {"structure": structure_to_record(structure)}
    formula = structure.composition.reduced_formula
    return SimpleNamespace(id=str(seq), seq=seq, campaign="c", formula=formula, relaxation=record)


def test_training_crystals_are_recognised_and_new_ones_pass(perov5: Generator) -> None:
    rows = perov5.bank.rows("train")[:12]
    decoded = perov5.decode([perov5.bank.codes(int(row)) for row in rows])
    moved, foreign = [], []
    for item in decoded:
        assert item.structure is not None
        same = item.structure.copy()
        same.translate_sites(range(len(same)), [0.3, 0.1, 0.7])
        moved.append(same)
        other = item.structure.copy()
        other.replace_species({other[0].specie: "Ar"})  # no training crystal has it
        foreign.append(other)
    stage = ScreenStage(
        ScreenSettings(),
        ScreenModels(),
        perov5,
        siblings=lambda campaign, formula: (),
        waiting=lambda campaign, formulas: (),
    )
    outcomes = list(stage.process([relaxed(s, i) for i, s in enumerate([*moved, *foreign])]))
    for row, outcome in zip(rows, outcomes):
        assert outcome.reason == "duplicate_training"
        ids = [match["id"] for match in outcome.detail["matches"]]
        assert str(perov5.bank.ids[row]) in ids
        assert CrystalCodes.from_record(outcome.updates["relaxed_codes"])
        assert {(p["model"], p["version"]) for p in outcome.predictions} == {
            ("head", perov5.head.version)
        }
    for outcome in outcomes[len(rows) :]:
        assert outcome.to == State.SCREENED
        assert outcome.updates["screening.encoding"]["encoded"] is False
        assert outcome.predictions == []


def test_bank_reference_gives_the_formula_that_was_asked_for(perov5: Generator) -> None:
    reference = training_reference(perov5)
    wrong = 0
    for row in range(0, len(perov5.bank), len(perov5.bank) // 40):
        formula = str(perov5.bank.formulas[row])
        known = reference.of_formula(formula)
        assert str(perov5.bank.ids[row]) in [crystal.id for crystal in known]
        wrong += sum(c.structure.composition.reduced_formula != formula for c in known)
    assert wrong <= 1


def test_head_predicts_the_same_from_codes_as_from_their_features(perov5: Generator) -> None:
    codes = [perov5.bank.codes(i) for i in range(5)]
    answers = head_predictions(perov5, None, codes, on="decoded")
    expected = perov5.head.predict(perov5.features(codes))
    for i, answer in enumerate(answers):
        assert not isinstance(answer, Refusal)
        for prediction in answer:
            mean, std = expected[f"{prediction.property}@{prediction.level}"]
            assert (prediction.value, prediction.std) == (mean[i].item(), std[i].item())
    assert HeadScreen(perov5).version == perov5.head.version
