"""`discovery train-screen`: from a table to a checkpoint that loads."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agents.screen.alignn import ALIGNN
from discovery.campaign.config import ConfigError
from discovery.cli import app
from discovery.models.screen_training import read_screen_config

TINY = """
name: tiny
epochs: 2
batch_size: 8
shape: {hidden: 16, embedding: 8}
"""


@pytest.fixture
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    columns = ["material_id", "megnet_split", "structure", "formation_energy_per_atom", "band_gap"]
    with gzip.open(folder / "mp2018_megnet.csv.gz", "wt", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for i in range(48):
            a = 3.6 + 0.01 * i
            cell = {"cell": [a, a, a, 60, 60, 60], "frac": [[0, 0, 0], [0.5, 0.5, 0.5]]}
            text = json.dumps({**cell, "species": ["Na", ("Cl", "Br")[i % 2]]})
            split = ("train", "val", "test")[i % 3]
            writer.writerow([f"s-{i}", split, text, -2 + a / 10, 9 - a])
    monkeypatch.setenv("DISCOVERY_DATA", str(folder))
    return folder


def test_table_becomes_a_checkpoint(data_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    out = tmp_path / "out"
    command = ["train-screen", "--config", str(tmp_path / "tiny.yaml"), "--out", str(out)]
    stopped = CliRunner().invoke(app, [*command, "--stop-after", "1"])
    assert stopped.exit_code == 0, stopped.output
    assert "epoch 1/2" in stopped.stderr
    assert "epoch 2/2" not in stopped.stderr
    assert ALIGNN.load(out).card.training["command"].endswith("--stop-after 1")
    whole = CliRunner().invoke(app, command)
    assert whole.exit_code == 0, whole.output
    assert whole.stdout.strip() == str(out)
    assert "epoch 2/2" in whole.stderr
    assert "test: MAE of 16 crystals" in whole.stderr
    card = ALIGNN.load(out).card
    assert card.training["epochs"] == 2
    assert card.training["command"] == "discovery train-screen --config tiny --out OUT"
    assert card.errors["val"].crystals == 16


def test_shipped_configuration_is_the_one_of_the_shipped_weights() -> None:
    assert ALIGNN.load().card.config == read_screen_config("alignn").model_dump(mode="json")


def test_wrong_configurations_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no screen configuration 'nothing'"):
        read_screen_config("nothing")
    bad = tmp_path / "bad.yaml"
    bad.write_text(TINY.replace("epochs: 2", "epochs: 0"))
    with pytest.raises(ConfigError, match="epochs: Input should be greater"):
        read_screen_config(str(bad))
    bad.write_text("name: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_screen_config(str(bad))
