"""Predictions of the property head from codes and from crystals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pymatgen.core import Lattice, Structure

from agents.screen.files import screen_structures
from agents.screen.head import HeadScreen, head_predictions
from agents.screen.screen import Refusal
from model.generator import EncodingError


def rock_salt(species: list[str]) -> Structure:
    return Structure(Lattice.cubic(4.0), species, [[0, 0, 0], [0.5, 0.5, 0.5]])


def test_codes_give_one_prediction_per_target_and_level(generator: Any) -> None:
    [_, answer] = head_predictions(
        generator, None, [generator.codes(0), generator.codes(2)], on="decoded"
    )
    assert not isinstance(answer, Refusal)
    assert [p.record() for p in answer] == [
        {
            "property": "formation_energy_per_atom",
            "value": value,
            "unit": "eV/atom",
            "model": "head",
            "version": "fakehead0001",
            "level": level,
            "in_domain": False,
            "std": 0.25,
            "on": "decoded",
            "out_of_domain": ["unproven: not yet judged by enough labels of new crystals"],
        }
        for level, value in [("chgnet-0.3.0", -2.0), ("castelli2012", -4.0)]
    ]


def test_crystals_codes_and_errors_may_be_mixed(generator: Any) -> None:
    items = [
        EncodingError("too large"),
        rock_salt(["Na", "Cl"]),
        rock_salt(["K", "Cl"]),
        generator.codes(1),
    ]
    answers = head_predictions(generator, generator.head, items)
    assert answers[0] == Refusal("head", "too large")
    assert answers[2] == Refusal("head", "KCl is unknown to this generator")
    firsts = [answer[0] for answer in answers if not isinstance(answer, Refusal)]
    assert [(p.value, p.on) for p in firsts] == [(-2.0, "relaxed"), (-1.0, "relaxed")]


def test_only_proven_targets_are_in_domain_and_only_calibrated_ones_have_a_spread(
    generator: Any,
) -> None:
    learned = type(generator.head)()
    learned.version = "learned00001"
    learned.proven = ["formation_energy_per_atom@chgnet-0.3.0"]
    learned.uncalibrated = ["formation_energy_per_atom@castelli2012"]
    [answer] = head_predictions(generator, learned, [generator.codes(0)])
    assert not isinstance(answer, Refusal)
    assert [(p.version, p.level, p.in_domain, p.std) for p in answer] == [
        ("learned00001", "chgnet-0.3.0", True, 0.25),
        ("learned00001", "castelli2012", False, None),
    ]


def test_the_version_is_computed_once_however_many_crystals(
    generator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(
        type(generator.head), "version", property(lambda head: asked.append(1) or "v")
    )
    answers = head_predictions(generator, None, [generator.codes(i % 3) for i in range(20)])
    assert len(answers) == 20
    assert len(asked) == 1


def test_nothing_to_predict_is_no_error(generator: Any) -> None:
    assert head_predictions(generator, None, []) == []


def test_a_head_that_gives_nan_is_not_believed(
    generator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator, "features", lambda codes: torch.full((len(codes), 1), torch.nan))
    [answer] = head_predictions(generator, None, [generator.codes(0)])
    assert isinstance(answer, Refusal)
    assert "chgnet-0.3.0" in answer.reason


def test_own_structures_get_a_full_report(generator: Any) -> None:
    decorated = rock_salt(["Na", "Cl"])
    decorated.add_oxidation_state_by_element({"Na": 1, "Cl": -1})
    records = list(
        screen_structures(
            {"a.cif": decorated, "b.cif": rock_salt(["K", "Cl"])},
            [HeadScreen(generator)],
            absent={"megnet": "weights not found"},
        )
    )
    assert [(r["id"], r["formula"], len(r["predictions"])) for r in records] == [
        ("a.cif", "NaCl", 2),
        ("b.cif", "KCl", 0),
    ]
    needed = {"model", "version", "property", "value", "unit", "in_domain"}
    assert needed <= set(records[0]["predictions"][0])
    assert records[0]["validity"]["smact_cdvae"] is True
    assert records[1]["not_predicted"] == {
        "megnet": "weights not found",
        "head": "KCl is unknown to this generator",
    }


def test_what_cannot_be_screened_is_named_and_does_not_stop_the_others(generator: Any) -> None:
    disordered = Structure(Lattice.cubic(4), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])
    flat = Structure([[4, 0, 0], [8, 0, 0], [0, 0, 4]], ["Na"], [[0, 0, 0]])
    records = list(
        screen_structures(
            {"c.cif": disordered, "d.cif": flat, "e.cif": rock_salt(["Na", "Cl"])},
            [HeadScreen(generator)],
        )
    )
    assert [record["id"] for record in records] == ["c.cif", "d.cif", "e.cif"]
    assert "partially occupied" in records[0]["error"]
    assert "no volume" in records[1]["error"]
    assert (records[2]["error"], len(records[2]["predictions"])) == (None, 2)
