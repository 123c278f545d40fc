"""Whole comparisons: resumed, shared between processes, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.compare import comparison as module
from agents.compare.bases import Share, TooFewBases, draw_bases, share_of
from agents.compare.comparison import BudgetTooSmall, Comparison, compare

TOY = Comparison(
    "toy", ("uniform", "donor", "paper_ga"), bases=2, seeds=2, evaluations=100, max_atoms=None
)
TIMES = ("seconds", "cpu_seconds", "seconds_without_potential", "cpu_seconds_without_potential")


@pytest.fixture
def toy_world(monkeypatch, toy_generator, toy_potential, toy_references) -> Any:
    """Comparisons load the toys; returns the potential, which counts."""
    monkeypatch.setattr(module.Generator, "load", classmethod(lambda cls, name: toy_generator))
    monkeypatch.setattr(module, "load_potential", lambda name, device: toy_potential)
    load = classmethod(lambda cls, potential: toy_references)
    monkeypatch.setattr(module.ElementalReferences, "load", load)
    return toy_potential


def _untimed(report: dict[str, Any]) -> dict[str, Any]:
    for figures in report["methods"].values():
        for name in TIMES:
            figures.pop(name, None)
    return report


class Interrupted(Exception):
    """Raised by a progress callback in place of a kill."""


def test_a_resumed_comparison_equals_an_uninterrupted_one(toy_world, tmp_path: Path) -> None:
    whole = compare(TOY)
    file = tmp_path / "runs.jsonl"

    def stop_at_five(done: int, total: int, record: dict[str, Any]) -> None:
        assert total == 12
        if done == 5:
            raise Interrupted

    with pytest.raises(Interrupted):
        compare(TOY, runs=file, progress=stop_at_five)
    content = file.read_bytes()
    assert content.count(b"\n") == 5
    file.write_bytes(content + content[:1000])  # a sixth line, cut short by a kill
    toy_world.asked.clear()
    resumed = compare(TOY, runs=file)
    asked = len(toy_world.asked)
    assert _untimed(resumed) == _untimed(whole)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(lines) == len({json.dumps(line["key"]) for line in lines}) == 12
    toy_world.asked.clear()
    again = compare(TOY, runs=file)
    assert not toy_world.asked
    assert asked > 0
    assert _untimed(again) == _untimed(resumed)


def test_runs_of_another_budget_are_neither_used_nor_lost(toy_world, tmp_path: Path) -> None:
    import dataclasses

    file = tmp_path / "runs.jsonl"
    compare(TOY, runs=file)
    smaller = dataclasses.replace(TOY, evaluations=50, methods=("uniform",), seeds=1)
    report = compare(smaller, runs=file)
    assert report["methods"]["uniform"]["evaluations"]["mean"] == 50
    assert len(file.read_text().splitlines()) == 12 + 2


def test_more_seeds_continue_fewer(toy_world, tmp_path: Path) -> None:
    import dataclasses

    file = tmp_path / "runs.jsonl"
    compare(dataclasses.replace(TOY, seeds=1), runs=file)
    toy_world.asked.clear()
    report = _untimed(compare(TOY, runs=file))
    assert report == _untimed(compare(TOY))
    runs = len(TOY.methods) * TOY.bases
    assert len(toy_world.asked) <= 3 * runs * 100  # the second seed here, both in the check


def test_every_method_gets_the_same_bases_seeds_and_evaluations(toy_world, tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    report = compare(TOY, runs=file)
    keys = [json.loads(line)["key"] for line in file.read_text().splitlines()]
    per_method = {
        m: {(k["base"], k["seed"]) for k in keys if k["method"] == m} for m in TOY.methods
    }
    assert len({frozenset(places) for places in per_method.values()}) == 1
    assert len(next(iter(per_method.values()))) == 4
    for figures in report["methods"].values():
        assert figures["evaluations"] == {"mean": 100.0, "sd": 0.0, "sd_bases": 0.0}
    assert len(report["bases"]) == 2


def test_bases_are_held_out_and_the_halves_do_not_meet(toy_generator) -> None:
    bank = toy_generator.bank
    drawn = {
        share: draw_bases(toy_generator, 5, seed=0, share=share, max_atoms=None) for share in Share
    }
    assert not set(drawn[Share.FRESH]) & set(drawn[Share.TUNING])
    for share, rows in drawn.items():
        assert len(set(rows)) == 5
        assert {str(bank.role[row]) for row in rows} == {"val"}
        assert {share_of(str(bank.ids[row])) for row in rows} == {share}
        fewer = draw_bases(toy_generator, 3, seed=0, share=share, max_atoms=None)
        assert fewer == rows[:3]
    small = draw_bases(toy_generator, 2, seed=0, share=Share.FRESH, max_atoms=2)
    assert np.all(bank.n_atoms[small] <= 2)
    with pytest.raises(TooFewBases, match="1000 bases were asked for"):
        draw_bases(toy_generator, 1000, seed=0, share=Share.FRESH, max_atoms=None)


def test_force_calls_must_pay_for_more_than_the_evaluations() -> None:
    with pytest.raises(BudgetTooSmall, match="640 evaluations"):
        Comparison("perov5", ("donor",), force_calls=640)


@pytest.mark.long
def test_two_processes_find_what_one_finds() -> None:
    asked = Comparison("perov5", ("donor", "paper_ga"), bases=1, seeds=2, evaluations=64)
    assert _untimed(compare(asked, workers=2)) == _untimed(compare(asked))
