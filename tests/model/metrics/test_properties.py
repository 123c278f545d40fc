"""The head judged on a split: errors by hand, a constant beside, labels from elsewhere."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from model.data.dataset import read_split
from model.generator import Generator
from model.metrics.properties import evaluate_properties

_TARGET = "formation_energy_per_atom@castelli2012"


def test_errors_are_those_of_the_predictions(headed: Generator, tiny_data: Path) -> None:
    result = evaluate_properties(headed, dataset="perov5", split="test", data_dir=tiny_data)
    table = read_split("perov5", "test", data_dir=tiny_data)
    codes = headed.encode_crystals(table.crystals)
    mean = headed.head.predict(headed.features(codes))[_TARGET][0].numpy()  # type: ignore[arg-type]
    truth = table.labels[_TARGET]
    known = np.isfinite(truth)
    figures = result["targets"][_TARGET]
    assert figures["n"] == known.sum() < result["n"] == 24
    assert figures["mae"] == pytest.approx(np.abs(mean - truth)[known].mean(), rel=1e-4)
    trained = headed.bank.properties[_TARGET][headed.bank.rows("train")]
    constant = np.median(trained[np.isfinite(trained)])
    expected = np.abs(truth[known] - constant).mean()
    assert figures["mae_train_median"] == pytest.approx(expected, rel=1e-4)
    assert figures["spread"] == pytest.approx(truth[known].std(ddof=1), rel=1e-4)
    json.dumps(result, allow_nan=False)


def test_labels_of_another_level_are_read_by_id(
    headed: Generator, tiny_data: Path, tmp_path: Path
) -> None:
    file = tmp_path / "labels.csv"
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "value"])
        writer.writerows([f"m{i}", 0.1 * i] for i in range(6))
    result = evaluate_properties(
        headed,
        dataset="perov5",
        split="test",
        data_dir=tiny_data,
        extra_labels={_TARGET: file},
    )
    assert result["targets"][_TARGET]["n"] == 6
    assert _TARGET not in result["unlabelled"]
