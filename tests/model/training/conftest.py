"""Fixtures of the training's tests."""

from __future__ import annotations

import pytest

from model.settings import HeadConfig, ModelConfig, TrainConfig


@pytest.fixture(scope="session")
def tiny_config() -> TrainConfig:
    """A training of seconds on the tiny data set; eager to revive codes, which draws numbers."""
    return TrainConfig(
        name="tiny",
        epochs=4,
        batch_size=16,
        validate_rows=6,
        model=ModelConfig(
            width=16,
            heads=2,
            encoder_blocks=1,
            decoder_blocks=1,
            local_dim=8,
            species_dim=8,
            crystal_dim=8,
            role_codes=8,
            axis_codes=16,
            species_codes=8,
            crystal_codes=8,
            crystal_levels=2,
            dead_code_threshold=2.5,
        ),
        head=HeadConfig(width=8, members=2, epochs=2),
        prior=None,  # the roles of a network of four epochs say nothing yet
    )
