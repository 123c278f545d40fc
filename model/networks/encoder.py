"""The encoder: a crystal to anonymous local vectors, species tokens and a crystal token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.data.canonical import MAX_ATOMIC_NUMBER
from model.data.tensors import CrystalTensors
from model.networks.coordinates import FREQUENCIES, fourier_features
from model.networks.layers import TransformerBlock, atom_mean, mlp
from model.settings import ModelConfig

_GAUSSIANS = 24
_GAUSSIAN_RANGE = (0.5, 10.0)  # Å
_GAUSSIAN_WIDTH = 0.45  # Å
_AXIS_WIDTH = 32
_PADDING_BIAS = -1e9


@dataclass(frozen=True)
class Encoding:
    """What the encoder makes of B crystals, before quantisation.

    Attributes:
        role: (B, N, local_dim), sees coordinates and species ranks only.
        axes: (B, N, 3, local_dim), one vector per coordinate.
        species: (B, S, species_dim), one token per distinct element, blind to the cell.
        present: (B, S) bool, which slots are used.
        pooled: (B, 2 width), crystal summary for the crystal token.
    """

    role: Tensor
    axes: Tensor
    species: Tensor
    present: Tensor
    pooled: Tensor


def padding_bias(mask: Tensor) -> Tensor:
    """Return the attention bias (B, 1, 1, N) that hides padding."""
    bias = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, _PADDING_BIAS)
    return bias[:, None, None, :]


class CrystalEncoder(nn.Module):
    """Two paths: chemistry sees everything, geometry never sees the elements or the cell.

    Local vectors are anonymous: they are computed from coordinates and electronegativity ranks
    alone. That is what leaves composition and cell to the global codes, and makes the search over
    these effective. `end` is the local vector of "no more atoms", quantised like a role.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        self.config = config
        fourier = 2 * len(FREQUENCIES)
        self.element = nn.Embedding(MAX_ATOMIC_NUMBER + 1, width)
        self.rank = nn.Embedding(config.max_species, width)
        self.position = nn.Linear(3 * fourier, width)
        self.cell = mlp(6, width, width)
        self.pair = nn.Linear(_GAUSSIANS, config.heads * config.encoder_blocks)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, config.heads) for _ in range(config.encoder_blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.composition = nn.Linear(width, width)
        self.to_species = mlp(2 * width, 2 * width, config.species_dim)
        self.end = nn.Parameter(torch.randn(config.local_dim))
        self.anonymous = mlp(3 * fourier + width, 2 * width, width)
        self.anonymous_context = nn.Linear(width, width)
        self.to_role = mlp(2 * width, 2 * width, config.local_dim)
        self.axis = nn.Embedding(3, _AXIS_WIDTH)
        self.to_axis = mlp(fourier + _AXIS_WIDTH, 64, config.local_dim)
        self.residual_cell = mlp(6, width, width)
        self.to_crystal = mlp(3 * width, 2 * width, config.crystal_dim)
        self.register_buffer(
            "centres", torch.linspace(*_GAUSSIAN_RANGE, _GAUSSIANS), persistent=False
        )

    centres: Tensor

    def forward(self, crystals: CrystalTensors, lattice: Tensor) -> Encoding:
        """Encode crystals.

        Args:
            crystals: B crystals, N atoms.
            lattice: (B, 6) standardised lattices.
        """
        mask = crystals.mask
        waves = fourier_features(crystals.frac)
        element = self.element(crystals.numbers)
        context = self._context(crystals, lattice, element, waves)
        species, present = self._species(crystals, element)
        role = self._roles(crystals, waves)
        axis = self.axis.weight.expand(*waves.shape[:3], _AXIS_WIDTH)
        axes = self.to_axis(torch.cat([waves, axis], -1))
        pooled = torch.cat([atom_mean(context, mask), atom_mean(F.gelu(element), mask)], -1)
        return Encoding(role=role, axes=axes, species=species, present=present, pooled=pooled)

    def crystal_token(self, pooled: Tensor, lattice_residual: Tensor) -> Tensor:
        """Return the crystal token (B, crystal_dim).

        Args:
            pooled: (B, 2 width) of the `Encoding`.
            lattice_residual: (B, 6), standardised lattice minus what chemistry suggests.
        """
        return self.to_crystal(torch.cat([pooled, self.residual_cell(lattice_residual)], -1))

    def _context(
        self, crystals: CrystalTensors, lattice: Tensor, element: Tensor, waves: Tensor
    ) -> Tensor:
        """Return atoms (B, N, width) that have seen the whole crystal."""
        x = element + self.rank(crystals.ranks) + self.position(waves.flatten(-2))
        x = x + self.cell(lattice)[:, None]
        shells = (crystals.distances[..., None] - self.centres) / _GAUSSIAN_WIDTH
        pair = self.pair(torch.exp(-(shells**2))).permute(0, 3, 1, 2)
        bias = pair + padding_bias(crystals.mask)
        for block, part in zip(self.blocks, bias.split(self.config.heads, dim=1)):
            x = block(x, part)
        return self.norm(x)

    def _species(self, crystals: CrystalTensors, element: Tensor) -> tuple[Tensor, Tensor]:
        """Return one token per element, which knows its element and the composition.

        It sees neither cell nor distances: a token taken from another crystal must not bring that
        crystal's volume along, or swapping species would not move the cell as radii do.
        """
        slot = F.one_hot(crystals.ranks, self.config.max_species).to(element.dtype)
        slot = slot * crystals.mask[..., None]
        count = slot.sum(1)
        own = slot.transpose(1, 2) @ element / count.clamp(min=1)[..., None]
        composition = F.gelu(self.composition(atom_mean(element, crystals.mask)))
        tokens = self.to_species(torch.cat([own, composition[:, None].expand_as(own)], -1))
        return tokens, count > 0

    def _roles(self, crystals: CrystalTensors, waves: Tensor) -> Tensor:
        """Return role vectors from coordinates and ranks alone."""
        own = torch.cat([waves.flatten(-2), self.rank(crystals.ranks)], -1)
        own = self.anonymous(own)
        around = F.gelu(self.anonymous_context(atom_mean(own, crystals.mask)))
        return self.to_role(torch.cat([own, around[:, None].expand_as(own)], -1))
