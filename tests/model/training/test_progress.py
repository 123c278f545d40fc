"""Reports of epochs: when to validate, what a person reads, what a file keeps."""

from __future__ import annotations

import json

import pytest

from model.training.progress import EpochReport, Validation, training_record, validated_epochs


def report(epoch: int, validation: Validation | None = None) -> EpochReport:
    return EpochReport(
        epoch=epoch,
        epochs=3,
        seconds=10.0 * epoch,
        seconds_left=10.0 * (3 - epoch),
        learning_rate=1e-3,
        losses={"species": 0.123456789 / epoch, "total": 1.0},
        perplexity={"role": [8.0], "crystal": [7.0, 6.5]},
        dead={"role": [0], "crystal": [1, 2]},
        validation=validation,
    )


@pytest.mark.parametrize(
    ("epochs", "every", "expected"),
    [
        (10, None, {2, 4, 6, 8, 10}),
        (8, None, {2, 3, 5, 6, 8}),
        (100, None, {20, 40, 60, 80, 100}),
        (2, None, {2}),
        (10, 4, {2, 6, 10}),
        (9, 4, {5, 9}),
        (4, 1, {2, 3, 4}),
        (4, 50, {4}),
    ],
)
def test_the_first_epoch_is_never_validated_and_the_last_always(
    epochs: int, every: int | None, expected: set[int]
) -> None:
    assert validated_epochs(epochs, every) == expected


def test_better_is_first_more_matches_then_a_smaller_rms() -> None:
    ordered = [
        Validation(10, 0.0, None),
        Validation(10, 0.5, 0.2),
        Validation(10, 0.5, 0.1),
        Validation(10, 0.9, 0.4),
    ]
    shuffled = [ordered[i] for i in (2, 0, 3, 1)]
    assert sorted(shuffled, key=lambda v: v.rank) == ordered


def test_a_report_survives_json() -> None:
    for original in (report(1), report(2, Validation(10, 0.5, None))):
        read = json.loads(json.dumps(original.record(), allow_nan=False))
        assert EpochReport.from_record(read) == original


def test_a_line_tells_dead_codes_and_validation() -> None:
    line = str(report(2, Validation(200, 0.995, 0.0123)))
    assert "epoch 2/3" in line
    assert "10 s left" in line
    assert "crystal 7/6 (1/2 dead)" in line
    assert "role 8  crystal" in line
    assert "match 99.50% rms 0.0123" in line


def test_the_record_of_a_training_has_one_list_a_series() -> None:
    history = [report(1), report(2, Validation(5, 0.4, 0.1)), report(3, Validation(5, 0.2, None))]
    record = training_record(history, 2, {"device": "cpu"})
    assert record["losses"]["species"] == [0.1235, 0.06173, 0.04115]
    assert record["perplexity"]["crystal"] == [[7.0, 7.0, 7.0], [6.5, 6.5, 6.5]]
    assert record["validation"] == [
        {"epoch": 2, "n": 5, "match_rate": 0.4, "rms": 0.1},
        {"epoch": 3, "n": 5, "match_rate": 0.2, "rms": None},
    ]
    assert (record["best_epoch"], record["epochs"], record["device"]) == (2, 3, "cpu")
