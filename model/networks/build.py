"""From a training configuration to an untrained network."""

from __future__ import annotations

from model.networks.network import CodeNetwork
from model.networks.vqvae import CrystalVQVAE
from model.settings import TrainConfig
from model.vqcrystal.network import VQCrystalNetwork


def build_network(config: TrainConfig, n_targets: int) -> CodeNetwork:
    """Create the network a configuration names, with untrained weights.

    Args:
        config: of the training.
        n_targets: number of properties learned jointly, may be 0.
    """
    if config.architecture == "vqcrystal":
        return VQCrystalNetwork(config.vqcrystal, n_targets)
    return CrystalVQVAE(config.model, n_targets)
