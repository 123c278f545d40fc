"""A new head and prior on a network that is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.generator import Generator
from model.settings import HeadConfig, TrainConfig
from model.training import refit, train


def test_refit_keeps_network_and_bank_and_replaces_the_head(
    tiny_config: TrainConfig, tiny_data: Path, tmp_path: Path
) -> None:
    train(tiny_config, data_dir=tiny_data, out=tmp_path / "first")
    other = tiny_config.model_copy(update={"head": HeadConfig(width=12, members=3, epochs=2)})
    refit(other, network_of=tmp_path / "first", data_dir=tiny_data, out=tmp_path / "second")
    first, second = Generator.load(tmp_path / "first"), Generator.load(tmp_path / "second")
    assert second.version == first.version
    assert second.head.members == 3
    assert second.head.version != first.head.version


def test_refit_refuses_a_network_of_another_configuration(
    tiny_config: TrainConfig, tiny_data: Path, tmp_path: Path
) -> None:
    train(tiny_config, data_dir=tiny_data, out=tmp_path / "first")
    other = tiny_config.model_copy(update={"batch_size": 8})
    with pytest.raises(ValueError, match="other settings of batch_size"):
        refit(other, network_of=tmp_path / "first", data_dir=tiny_data, out=tmp_path / "second")
