"""From a training configuration to an untrained network."""

from __future__ import annotations

from model.networks.vqvae import CrystalVQVAE
from model.settings import TrainConfig


def build_network(config: TrainConfig, n_targets: int) -> CrystalVQVAE:
    """Create the network a configuration names, with untrained weights.

    Args:
        config: of the training.
        n_targets: number of properties learned jointly, may be 0.
    """
    return CrystalVQVAE(config.model, n_targets)
