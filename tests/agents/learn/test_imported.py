"""Imported calculations as labels: only of the levels that a campaign names, and never mixed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from agents.learn import event
from agents.learn.challenge import Challenge
from agents.learn.event import due, learn
from agents.learn.imported import imported_labels
from agents.learn.settings import LearnSettings
from agents.relax.calculator import atoms_from_structure
from agents.verify.imported.store import import_folder
from db import model_versions
from db.connection import Session


@pytest.fixture
def lab(database: Session, world: Any, tmp_path: Path) -> list[Any]:
    """Four decoded perovskites at the level ``lab``, one of them far from rest."""
    bank = world.generator.bank
    decoded = world.generator.decode([bank.codes(row) for row in range(12)])
    structures = [one.structure for one in decoded if one.structure is not None][:4]
    frames = []
    for number, structure in enumerate(structures):
        atoms = atoms_from_structure(structure)
        forces = np.full((len(atoms), 3), 1.0 if number == 3 else 0.0)
        atoms.calc = SinglePointCalculator(atoms, energy=-5.0 * len(atoms), forces=forces)
        atoms.info["band_gap"] = 1.0 + number
        frames.append(atoms)
    write(tmp_path / "lab.extxyz", frames, format="extxyz")
    report = import_folder(tmp_path, level="lab")
    assert len(report.imported) == 4
    return structures


def test_labels_are_those_of_the_named_levels_with_the_encoders_codes(
    world: Any, lab: list[Any]
) -> None:
    assert imported_labels(world.generator, ()) == []
    assert imported_labels(world.generator, ("another",)) == []
    labels = imported_labels(world.generator, ("lab",))
    assert [label.target for label in labels] == ["band_gap@lab"] * 3  # no references: no E_f
    assert sorted(label.value for label in labels) == [1.0, 2.0, 3.0]  # not of the one in motion
    codes = {one.digest() for one in world.generator.encode(lab[:3])}
    assert {label.codes.digest() for label in labels} == codes
    assert {label.source for label in labels} == {"imported"}


def test_a_campaign_learns_them_at_its_own_events(
    campaign: str, world: Any, lab: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[list[str]] = []

    def passed(generator: Any, live: Any, *, learned: Any, new: Any, **_: Any) -> Challenge:
        told.append([label.target for label in new])
        head = live.clone()
        head.target_mean += 0.25
        metrics = {"prequential": {"targets": {}}, "held_out": {}}
        return Challenge(head, None, list(new), list(new)[-3:], metrics)

    monkeypatch.setattr(event, "challenge", passed)
    monkeypatch.setattr(type(world), "encode", world.generator.encode, raising=False)
    settings = LearnSettings(min_new_labels=40, min_labels=24, imported_levels=("lab",))
    assert not due(campaign, settings, last=True)  # imported labels start nothing
    world.add_evaluated(campaign, range(40), world.values[:40])
    first = learn(campaign, world, settings, 0)
    assert told[0].count("band_gap@lab") == 3
    assert len(model_versions.load(first.version).labels["trained"]) == 43
    world.add_evaluated(campaign, range(40, 79), world.values[40:79])
    assert not due(campaign, settings)  # 39 of its own
    world.add_evaluated(campaign, [79], world.values[79:80])
    assert due(campaign, settings)
    learn(campaign, world, settings, 0)
    assert "band_gap@lab" not in told[1]
