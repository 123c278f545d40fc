"""The decoder: codes to atoms and coordinates, and from these to the lattice."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.data.canonical import MAX_ATOMIC_NUMBER
from model.networks.coordinates import FREQUENCIES, fourier_features
from model.networks.layers import TransformerBlock, atom_mean, mlp
from model.vqcrystal.convolution import attention_bias
from model.vqcrystal.settings import VQCrystalConfig


@dataclass(frozen=True)
class Reconstruction:
    """What the decoder makes of the codes of B crystals.

    Attributes:
        elements: (B, N, 101) logits.
        frac: (B, N, 3) fractional coordinates in (-0.5, 0.5].
        lattice: (B, 6) standardised.
        hidden: (B, N, width) the atoms before they are read out.
    """

    elements: Tensor
    frac: Tensor
    lattice: Tensor
    hidden: Tensor


def torus_squared_error(predicted: Tensor, frac: Tensor) -> Tensor:
    """Return the mean squared difference of coordinates, each wrapped to the nearest image.

    Args:
        predicted: (M, 3) fractional.
        frac: (M, 3) fractional.

    Returns:
        Scalar, at most 1/4; 1/12 for a guess.
    """
    difference = predicted - frac
    return (difference - difference.detach().round()).pow(2).mean()


class VQCrystalDecoder(nn.Module):
    """z = z_l + upsample(z_g) → transformer → atoms; atoms → second transformer → lattice.

    Source: doi 10.1038/s41524-025-01613-6, decoder. A coordinate is read out as the direction of
    a vector in the plane, so that the network's output is a torus too.
    """

    def __init__(self, config: VQCrystalConfig) -> None:
        super().__init__()
        width = config.width
        self.from_local = nn.Linear(config.code_dim, width)
        self.upsample = nn.Linear(config.code_dim, width)
        self.blocks = _blocks(config, config.decoder_blocks)
        self.norm = nn.LayerNorm(width)
        self.element = mlp(width, width, MAX_ATOMIC_NUMBER + 1)
        self.direction = mlp(width, 2 * width, 6)
        self.species = nn.Linear(MAX_ATOMIC_NUMBER + 1, width, bias=False)
        self.position = nn.Linear(6 * len(FREQUENCIES), width)
        self.codes = nn.Linear(width, width) if config.lattice_from_codes else None
        self.count = nn.Embedding(config.max_atoms + 1, width)
        self.lattice_blocks = _blocks(config, config.lattice_blocks)
        self.lattice_norm = nn.LayerNorm(width)
        self.lattice = mlp(width, width, 6)

    def forward(self, local: Tensor, crystal: Tensor, mask: Tensor) -> Reconstruction:
        """Decode crystals.

        Args:
            local: (B, N, code_dim) z_l.
            crystal: (B, code_dim) z_g.
            mask: (B, N) bool.
        """
        bias = attention_bias(mask)
        x = z = self.from_local(local) + self.upsample(crystal)[:, None]
        for block in self.blocks:
            x = block(x, bias)
        x = self.norm(x)
        elements = self.element(x)
        sine, cosine = self.direction(x).unflatten(-1, (3, 2)).unbind(-1)
        frac = torch.atan2(sine, cosine) / (2 * math.pi)
        return Reconstruction(
            elements=elements,
            frac=frac,
            lattice=self._lattice(elements, frac, z, mask),
            hidden=x,
        )

    def _lattice(self, elements: Tensor, frac: Tensor, z: Tensor, mask: Tensor) -> Tensor:
        """Return the standardised lattice (B, 6) of reconstructed atoms."""
        x = self.species(elements.softmax(-1)) + self.position(fourier_features(frac).flatten(-2))
        x = x + self.count(mask.sum(1))[:, None]
        if self.codes is not None:
            x = x + self.codes(z)
        bias = attention_bias(mask)
        for block in self.lattice_blocks:
            x = block(x, bias)
        lattice: Tensor = self.lattice(atom_mean(self.lattice_norm(x), mask))
        return lattice


class PropertyOutput(nn.Module):
    """Transformer and perceptron on concat(z_l, z_g) (doi 10.1038/s41524-025-01613-6)."""

    def __init__(self, config: VQCrystalConfig, n_targets: int) -> None:
        super().__init__()
        self.joint = nn.Linear(2 * config.code_dim, config.width)
        self.blocks = _blocks(config, config.property_blocks)
        self.norm = nn.LayerNorm(config.width)
        self.targets = mlp(config.width, config.width, n_targets)

    def pooled(self, local: Tensor, crystal: Tensor, mask: Tensor) -> Tensor:
        """Return crystals (B, width); arguments as in `VQCrystalDecoder.forward`."""
        x = self.joint(torch.cat([local, crystal[:, None].expand_as(local)], -1))
        bias = attention_bias(mask)
        for block in self.blocks:
            x = block(x, bias)
        return atom_mean(self.norm(x), mask)

    def forward(self, local: Tensor, crystal: Tensor, mask: Tensor) -> Tensor:
        """Return standardised properties (B, T)."""
        properties: Tensor = self.targets(self.pooled(local, crystal, mask))
        return properties


def _blocks(config: VQCrystalConfig, number: int) -> nn.ModuleList:
    """Return transformer blocks of the configured width."""
    return nn.ModuleList(TransformerBlock(config.width, config.heads) for _ in range(number))
