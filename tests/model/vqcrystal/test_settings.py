"""The shipped configurations carry the paper's code budgets; wrong sizes are refused."""

from __future__ import annotations

from importlib import resources

import pytest
from pydantic import ValidationError

from model.settings import TrainConfig, load_train_config
from model.vqcrystal.settings import VQCrystalConfig

PAPER = {  # doi 10.1038/s41524-025-01613-6: local codes, depth; global codes, depth; width
    "mp20": (128, 4, 128, 8, 64),
    "c2db": (64, 4, 64, 8, 32),
    "perov5": (32, 2, 64, 8, 32),
    "carbon24": (32, 2, 32, 8, 32),
}


def _configuration(dataset: str) -> TrainConfig:
    file = resources.files("configs") / "model" / f"{dataset}-vqcrystal.yaml"
    with resources.as_file(file) as path:
        return load_train_config(path)


@pytest.mark.parametrize("dataset", PAPER)
def test_the_shipped_configurations_have_the_papers_budget(dataset: str) -> None:
    content = _configuration(dataset)
    assert content.dataset == dataset
    assert content.architecture == "vqcrystal"
    config = content.vqcrystal
    budget = (config.local_codes, config.local_levels, config.global_codes, config.global_levels)
    assert (*budget, config.code_dim) == PAPER[dataset]
    assert config.shared_codebook
    assert config.temperature > 0
    assert config.max_atoms == (24 if dataset == "carbon24" else 20)


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ValidationError, match="multiple of heads"):
        VQCrystalConfig(width=30, heads=4)
    with pytest.raises(ValidationError, match="Extra inputs"):
        VQCrystalConfig(depth=3)  # type: ignore[call-arg]
