"""``discovery evaluate``: every command gives one JSON document, and says what it lacks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from discovery.cli import app
from model.generator import Generator
from model.metrics import generation, latent, properties, searchability
from model.prior import prediction

_ROOT = Path(__file__).parents[3]
_STRUCTURE = {
    "cell": [3.95, 3.95, 3.95, 90, 90, 90],
    "species": ["Sr", "Ti", "O", "O", "O"],
    "frac": [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
}


def _run(*arguments: str) -> Any:
    result = CliRunner().invoke(app, ["evaluate", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with a test split of one perovskite and one crystal of another family."""
    import csv
    import gzip

    with gzip.open(tmp_path / "perov5_test.csv.gz", "wt", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["material_id", "structure", "e_form_castelli_eV_per_cell", "e_form_how"])
        writer.writerow(["one", json.dumps(_STRUCTURE), "", ""])
        broken = {**_STRUCTURE, "species": ["Pu", "Ti", "O", "O", "O"]}
        writer.writerow(["two", json.dumps(broken), "", ""])
    monkeypatch.setenv("DISCOVERY_DATA", str(tmp_path))
    return tmp_path


def test_reconstruction_has_the_keys_of_the_tables_and_lists_what_fails(data: Path) -> None:
    file = data / "failures.json"
    result = _run(
        "reconstruction", "--dataset", "perov5", "--jobs", "1", "--failures", str(file), "--json"
    )
    assert {"match_rate", "rms", "match_rate_free", "rms_free", "match_rate_strict"} <= set(result)
    assert result["n"] == 2
    assert result["match_rate"] == 0.5
    assert [failure["id"] for failure in json.loads(file.read_text())] == ["two"]
    assert _run("reconstruction", "--dataset", "perov5", "--limit", "1", "--json")["n"] == 1


def test_a_checkpoint_alone_names_its_data_set(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def measure(generator: Generator, **options: Any) -> dict[str, Any]:
        seen.update(options, name=generator.name)
        return {"targets": {}}

    monkeypatch.setattr(properties, "evaluate_properties", measure)
    assert _run("properties", "--checkpoint", "perov5", "--json") == {"targets": {}}
    assert (seen["name"], seen["dataset"], seen["split"]) == ("perov5", "perov5", "test")
    assert seen["data_dir"] == data


def test_labels_of_another_level_are_named_by_their_file(data: Path) -> None:
    from discovery.cli.output import UsageError

    file, target = data / "labels.csv", "formation_energy_per_atom@castelli2012"
    file.write_text("id,value\none,-1.5\n")
    result = _run("properties", "--checkpoint", "perov5", "--label", f"{target}={file}", "--json")
    assert result["n"] == 2
    assert result["encode_errors"] == 1
    with pytest.raises(UsageError, match="TARGET=FILE"):
        _run("properties", "--checkpoint", "perov5", "--label", f"{target}=absent.csv", "--json")


def test_options_reach_what_measures(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    def measure(*_: Any, **options: Any) -> Any:
        seen.append(options)
        return {"n": 1}

    monkeypatch.setattr(generation, "evaluate_generation", measure)
    monkeypatch.setattr(searchability, "evaluate_searchability", measure)
    monkeypatch.setattr(prediction, "structure_prediction", measure)
    monkeypatch.setattr(latent, "evaluate_latent", lambda *a, **o: (measure(**o), [{"pc1": 0.5}]))
    points = data / "points.json"
    _run("generation", "--checkpoint", "perov5", "--n", "50", "--n-fingerprints", "7", "--json")
    _run("searchability", "--checkpoint", "perov5", "--bases", "3", "--draws", "4", "--json")
    _run("prediction", "--checkpoint", "perov5", "--limit", "9", "--samples", "2", "--json")
    _run("latent", "--checkpoint", "perov5", "--points", str(points), "--seed", "5", "--json")
    drawn, searched, predicted, looked = seen
    assert (drawn["n"], drawn["n_fingerprints"], drawn["n_unique"]) == (50, 7, None)
    assert drawn["cache"].name == "fingerprints"
    assert (searched["n_bases"], searched["n_draws"]) == (3, 4)
    assert (predicted["limit"], predicted["samples"], predicted["split"]) == (9, 2, "test")
    assert predicted["generator"].name == "perov5"
    assert looked["seed"] == 5
    assert json.loads(points.read_text()) == [{"pc1": 0.5}]


def test_lines_for_people_name_nested_figures(data: Path) -> None:
    result = CliRunner().invoke(app, ["evaluate", "properties", "--checkpoint", "perov5"])
    assert result.exit_code == 0
    assert "encode_errors" in result.stdout
    with pytest.raises(json.JSONDecodeError):
        json.loads(result.stdout)


def test_neither_checkpoint_nor_data_set_is_a_wrong_use() -> None:
    from discovery.cli.output import UsageError

    with pytest.raises(UsageError, match="--checkpoint, --dataset"):
        CliRunner().invoke(app, ["evaluate", "latent"], catch_exceptions=False)


def test_an_evaluation_becomes_a_row_of_the_papers_table(data: Path) -> None:
    import subprocess
    import sys

    file = data / "report.json"
    file.write_text(json.dumps(_run("reconstruction", "--dataset", "perov5", "--json")))
    script = _ROOT / "benchmarks" / "tables.py"
    forces = data / "forces.json"
    row = {"dataset": "perov5", "protocol": "plain", "max_steps": 100, "n": 8, "valid": 0.875}
    forces.write_text(json.dumps({"rattle": 0.03, "rows": [row]}))
    printed = subprocess.run(
        [sys.executable, script, file, forces], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(" | ") for line in printed.splitlines() if line.startswith("| ours, true N")]
    assert rows[0][1].startswith("50.00 / ")
    assert "| VQCrystal | 95.60 / 0.0438 |" in printed
    assert "| ours, Perov-5 | – | – | 87.50 (100 steps, n = 8) | – |" in printed
    assert "StructureMatcher" in printed
    file.write_text("{}")
    ended = subprocess.run([sys.executable, script, file], capture_output=True, text=True)
    assert ended.returncode
    assert "is no document of" in ended.stderr
