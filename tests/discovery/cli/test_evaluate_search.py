"""``discovery evaluate search``: one JSON document, real runs on CHGNet, wrong use refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from discovery.cli import app


def _run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["evaluate", "search", *arguments], catch_exceptions=False)


def test_a_real_comparison_of_two_methods(tmp_path: Path) -> None:
    runs = tmp_path / "runs.jsonl"
    asked = (
        *("--dataset", "perov5", "--bases", "1", "--seeds", "2", "--evaluations", "48"),
        *("--methods", "uniform,ours", "--runs", str(runs)),
    )
    result = _run(*asked, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["dataset"] == "perov5"
    assert (report["evaluations"], report["seeds"], len(report["bases"])) == (48, 2, 1)
    assert report["potential"] == "chgnet-0.3.0"
    assert list(report["methods"]) == ["uniform", "ours"]
    for figures in report["methods"].values():
        assert figures["evaluations"]["mean"] == 48
        assert set(figures["hits"]) == {"mean", "sd", "sd_bases"}
        assert figures["seconds"]["mean"] > figures["seconds_without_potential"]["mean"] > 0
    assert report["methods"]["ours"]["hits"]["mean"] > report["methods"]["uniform"]["hits"]["mean"]
    assert "4/4" in result.stderr
    lines = runs.read_text().splitlines()
    shown = _run(*asked)
    assert shown.exit_code == 0
    assert "ours" in shown.stdout
    assert runs.read_text().splitlines() == lines


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--dataset", "perov5", "--methods", "donr"), "did you mean donor"),
        (("--dataset", "perov5", "--relax", "640"), "leave nothing to relax with"),
        (("--dataset", "perov5", "--bases", "100000"), "100000 bases were asked for"),
        (("--dataset", "perov5", "--runs", "."), "is a folder"),
    ],
)
def test_wrong_use_says_what_to_change(arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words) as refused:
        _run(*arguments)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("arguments", [("--dataset", "carbon24"), ("--evaluations", "0"), ()])
def test_options_outside_their_range_are_a_usage_error(arguments: tuple[str, ...]) -> None:
    result = _run(*arguments)
    assert result.exit_code == 2


@pytest.mark.data
@pytest.mark.long
def test_a_relaxed_comparison_stays_within_its_force_calls(data_dir: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs.jsonl"
    result = _run(
        *("--dataset", "perov5", "--bases", "1", "--seeds", "1", "--evaluations", "32"),
        *("--methods", "donor", "--relax", "72", "--runs", str(runs)),
        *("--phases", str(tmp_path / "phases.sqlite"), "--json"),
    )
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)["methods"]["donor"]
    record = json.loads(runs.read_text())["relaxed"]
    calls = sum(one["force_calls"] for one in record["crystals"])
    assert 0 < calls <= record["force_calls"] <= 40
    assert figures["force_calls"]["mean"] == 32 + record["force_calls"]
    assert figures["relaxed"]["mean"] == len(record["crystals"]) > 0
