"""Crystals of MP-20's test split as if they were generated, against what is known of them.

The expectations (`data/mp20_test_expectations.csv`) were written from ids, formulas, space groups,
Wyckoff letters and cells, without `discovery dedup`; each has its reason. 50 equal a training
crystal; 50 are known to the Materials Project alone, under their own id or under the one that
replaced it, among them polymorphs and other cation orders of training crystals; 50 are in neither.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agents.paths import data_path
from agents.tables import read_rows
from db.connection import Session
from discovery.cli import app

EXPECTED = Path(__file__).parent / "data" / "mp20_test_expectations.csv"


def _write(path: Path, rows: Iterable[dict[str, str]]) -> Path:
    kept = list(rows)
    with gzip.open(path, "wt", newline="") as file:
        table = csv.DictWriter(file, list(kept[0]))
        table.writeheader()
        table.writerows(kept)
    return path


@pytest.fixture
def expected() -> list[dict[str, str]]:
    with EXPECTED.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def crystals(
    expected: list[dict[str, str]],
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    database: Session,
) -> Path:
    """The table of the crystals; the data folder is all of the references with their formulas."""
    formulas = {one["formula"] for one in expected}
    asked = {one["material_id"] for one in expected}
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("mp_ref2025_le20", "mp_ref2025_gt20", "mp20_train", "mp20_val"):
        rows = read_rows(data_path(f"{name}.csv.gz"))
        _write(folder / f"{name}.csv.gz", (row for row in rows if row["formula"] in formulas))
    test = read_rows(data_path("mp20_test.csv.gz"))
    path = folder / "mp20_test.csv.gz"
    _write(path, (row for row in test if row["material_id"] in asked))
    monkeypatch.setenv("DISCOVERY_DATA", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MONGODB_URI", database.uri)
    return path


def _answer(*arguments: object) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["dedup", *map(str, arguments), "--exhaustive", "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.data
def test_every_verdict_is_the_one_expected(crystals: Path, expected: list[dict[str, str]]) -> None:
    known = _answer(crystals, "--reference", "mp")
    assert (known["n"], known["failed"]) == (150, 0)
    assert (known["in_training"], known["rediscovered"], known["novel"]) == (50, 50, 50)
    trained = _answer(crystals, "--reference", "mp20-train", "--training", "none")
    listed = {
        name: {match["id"]: {match["reference_id"], *match["others"]} for match in found["matches"]}
        for name, found in (("rediscovered", known), ("training", trained))
    }
    wrong = []
    for one in expected:
        name, verdict = one["material_id"], one["verdict"]
        in_training = name in listed["training"]
        if verdict == "novel":
            right = not in_training and name not in listed["rediscovered"]
        else:
            right = in_training is (verdict == "training")
            right &= one["known_as"] in listed[verdict].get(name, ())
        if not right:
            wrong.append((one, listed["training"].get(name), listed["rediscovered"].get(name)))
    assert wrong == []
