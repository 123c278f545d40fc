"""What `discovery train` shows, and the configurations it takes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from discovery.campaign.config import ConfigError
from discovery.models.generator_training import TrainingProgress, train_generator
from model.training import EpochReport

REPORT = EpochReport(
    epoch=3,
    epochs=7,
    seconds=30.0,
    seconds_left=40.0,
    learning_rate=1e-3,
    losses={"species": 0.5},
    perplexity={"role": [8.0]},
    dead={"role": [0]},
)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_line_an_epoch_and_a_bar_only_on_a_terminal(terminal: bool) -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=100)
    with TrainingProgress(console, 7) as progress:
        progress.stage("network")
        progress.epoch(REPORT)
        progress.stage("bank")
    shown = output.getvalue()
    assert str(REPORT) in shown
    assert "stage network" in shown
    assert "stage bank" in shown
    assert ("\x1b" in shown) == terminal
    assert ("epoch 3/7, 40 s left" in shown) == terminal
    if not terminal:
        assert shown.splitlines() == ["stage network", str(REPORT), "stage bank"]


def test_a_configuration_with_a_wrong_key_is_refused_by_its_place(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    console = Console(file=io.StringIO())
    for text, message in (
        ("name: x\nmodel: {wdith: 3}\n", "model.wdith"),
        ("name: x\nprecision: float16\n", "precision"),
        ("name: x\ndata: {train: a.cif}\n", "data.val"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=message):
            train_generator(
                str(file), out=tmp_path / "out", device="cpu", labels=[], console=console
            )
    assert not (tmp_path / "out.partial").exists()
