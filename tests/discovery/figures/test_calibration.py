"""Predictions and labels are those that the property head learns from and is judged by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from campaign_records import HEAD, candidate, every_way, store_campaign

from agents.learn.labels import collect_labels
from db import model_versions
from db.connection import Session
from db.states import State
from discovery.figures.calibration import FIGURE, predictions
from discovery.figures.learning import FIGURE as LEARNING
from discovery.figures.learning import errors
from discovery.figures.source import read_campaign


def test_values_and_predictions_are_those_of_the_learning_agent(database: Session):
    store_campaign(documents=every_way())
    table = predictions(read_campaign("made"))
    found = {
        (one.id, one.property, one.level, one.value, one.predicted) for one in table.itertuples()
    }
    labels = {
        (one.candidate_id, *one.target.split("@"), one.value, one.prequential.value)
        for one in collect_labels("made")
        if one.prequential is not None
    }
    assert found == labels
    assert len(table) == len(labels) > 10


def test_energies_of_another_reference_stand_in_for_none(database: Session):
    one = candidate(0, State.EVALUATED, predicted=(-0.9, 0.2, HEAD))
    one["predictions"][0]["level"] = "castelli2012"
    store_campaign(documents=[one])
    assert predictions(read_campaign("made")).empty


def test_a_fair_head_lies_on_the_diagonal_and_one_too_sure_below(database: Session):
    draws = np.random.default_rng(1).normal(0, 0.2, 400)
    for name, promised in (("fair", 0.2), ("sure", 0.05)):
        store_campaign(
            name,
            [
                candidate(n, State.EVALUATED, energy=-1.0, predicted=(-1.0 + error, promised, HEAD))
                for n, error in enumerate(draws)
            ],
        )
        content = FIGURE.content(read_campaign(name))
        (summary,) = content.numbers["summary"]
        assert summary["mae"] == pytest.approx(np.abs(draws).mean())
        assert summary["within_one_std"] == np.mean(np.abs(draws) <= promised)
        _, curve = content.draw().axes
        promise, inside = (np.array(values) for values in curve.lines[0].get_data())
        furthest = np.abs(inside - promise).max()
        assert furthest < 0.09 if name == "fair" else (inside[10:] < promise[10:] - 0.1).all()


def test_heads_before_and_after_learning_are_told_apart(database: Session):
    made = [candidate(n, State.EVALUATED, predicted=(0.0, 0.2, HEAD)) for n in range(5)]
    store_campaign(documents=made)
    version = store_version("promoted", before=1.0, after=0.5)
    later = [
        {**candidate(n, State.EVALUATED, predicted=(0.0, 0.2, version)), "campaign": "made"}
        for n in range(5, 9)
    ]
    database.database["candidates"].insert_many([{**o, "_id": f"made-{o['seq']}"} for o in later])
    content = FIGURE.content(read_campaign("made"))
    assert content.table.groupby("learned").size().to_dict() == {0: 5, 1: 4}
    assert [one["head"] for one in content.numbers["summary"]] == [
        "shipped head",
        "after learning 1",
    ]


def store_version(decision: str, *, before: float, after: float) -> str:
    """Store a version of the head that was judged on 20 labels; return its digits."""

    def interval(mean: float) -> dict[str, float]:
        return {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "n": 20}

    target = {"before": interval(before), "after": interval(after)}
    name = model_versions.store(
        "made",
        "property_head",
        f"{decision} {before}".encode(),
        parent=None,
        metrics={"prequential": {"targets": {"formation_energy_per_atom@chgnet-0.3.0": target}}},
        labels={"trained": [], "gate": []},
        decision=decision,
        reason="any",
    )
    return model_versions.load(name).sha256[:12]


def test_what_learning_changed_is_what_the_versions_record(database: Session):
    store_campaign(documents=every_way())
    promoted = store_version("promoted", before=1.0, after=0.5)
    refused = store_version("refused", before=0.5, after=0.7)
    superseded = store_version("promoted", before=0.6, after=0.4)
    data = read_campaign("made")
    events = (
        {"version": f"made-{superseded}", "decision": "superseded", "reason": None},
        {"version": None, "decision": "refused", "reason": "too_few_to_judge"},
    )
    data = replace(data, learning=events)
    table = errors(data).sort_values("before", ascending=False)
    listed = table[["version", "decision", "before", "after", "labels", "unit"]].values.tolist()
    assert listed == [
        [f"made-{promoted}", "promoted", 1.0, 0.5, 20, "eV/atom"],
        [f"made-{superseded}", "superseded", 0.6, 0.4, 20, "eV/atom"],
        [f"made-{refused}", "refused", 0.5, 0.7, 20, "eV/atom"],
    ]
    content = LEARNING.content(data)
    assert "1 promoted, 1 refused, 1 superseded. 1 further events trained none." in content.caption
    (axes,) = content.draw().axes
    assert axes.get_xlabel() == "mean absolute error (eV/atom)"
    assert axes.get_xlim()[0] == 0


def test_only_the_last_events_are_drawn_and_the_table_has_all(
    database: Session, monkeypatch: pytest.MonkeyPatch
):
    store_campaign(documents=every_way())
    for number in range(3):
        store_version("promoted", before=1.0 - number / 10, after=0.5)
    monkeypatch.setattr("discovery.figures.learning.MOST", 2)
    content = LEARNING.content(read_campaign("made"))
    assert len(content.table) == 3
    assert content.caption.endswith("Drawn: the last 2 of 3 comparisons; the CSV file has all.")
    (axes,) = content.draw().axes
    assert [text.get_text()[:2] for text in axes.get_yticklabels()] == ["2:", "3:"]
