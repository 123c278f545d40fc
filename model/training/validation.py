"""How a network in training reconstructs crystals it never trains on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from model.data.canonical import Crystal, canonical
from model.data.tensors import CrystalTensors
from model.metrics.matching import match_all
from model.networks.network import CodeNetwork
from model.training.progress import Validation


class ValidationSet:
    """Crystals to encode to codes, decode and match (the protocol of `model.metrics`)."""

    def __init__(self, crystals: Sequence[Crystal], device: torch.device) -> None:
        """Keep crystals (at least one) on a device."""
        self.crystals = list(crystals)
        tensors = CrystalTensors.from_canonical([canonical(c) for c in crystals])
        self._tensors = tensors.to(device)

    @torch.inference_mode()
    def measure(self, network: CodeNetwork) -> Validation:
        """Return match rate and rms of a network in evaluation mode, with the true atom count."""
        codes = network.encode_to_codes(self._tensors)
        decoded = [Crystal(*arrays) for arrays in network.decode_to_arrays(codes)]
        distances = [m.rms for m in match_all(decoded, self.crystals) if m.rms is not None]
        return Validation(
            n=len(self.crystals),
            match_rate=len(distances) / len(self.crystals),
            rms=float(np.mean(distances)) if distances else None,
        )
