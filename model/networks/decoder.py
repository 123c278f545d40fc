"""The decoder: code vectors to elements, coordinates and features for properties."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.data.canonical import MAX_ATOMIC_NUMBER
from model.networks.encoder import padding_bias
from model.networks.layers import TransformerBlock, atom_mean, mlp
from model.settings import ModelConfig

_ABSENT = -1e9


@dataclass(frozen=True)
class CodeVectors:
    """Quantised code vectors of B crystals.

    Attributes:
        role: (B, N, local_dim).
        axes: (B, N, 3, local_dim).
        species: (B, S, species_dim), zero where absent.
        present: (B, S) bool.
        crystal: (B, crystal_dim).
        mask: (B, N) bool.
    """

    role: Tensor
    axes: Tensor
    species: Tensor
    present: Tensor
    crystal: Tensor
    mask: Tensor

    @property
    def local(self) -> Tensor:
        """(B, N, 4 local_dim): role and axes side by side."""
        return torch.cat([self.role, self.axes.flatten(-2)], -1)


@dataclass(frozen=True)
class AtomPrediction:
    """Per atom: logits of the element (B, N, 101) and coordinates (B, N, 3, K), hidden state."""

    elements: Tensor
    coordinates: Tensor
    hidden: Tensor


class CrystalDecoder(nn.Module):
    """A transformer over atoms whose role code points at a species token."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        self.slot = nn.Linear(config.local_dim, config.max_species)
        self.presence = nn.Linear(config.local_dim, 1)
        self.from_local = nn.Linear(4 * config.local_dim, width)
        self.from_species = nn.Linear(config.species_dim, width)
        self.from_crystal = nn.ModuleList(
            nn.Linear(config.crystal_dim, width) for _ in range(config.decoder_blocks + 1)
        )
        self.blocks = nn.ModuleList(
            TransformerBlock(width, config.heads) for _ in range(config.decoder_blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.element = mlp(width, width, MAX_ATOMIC_NUMBER + 1)
        self.element_of_slot = mlp(config.species_dim, width, MAX_ATOMIC_NUMBER + 1)
        self.bins = config.coordinate_bins
        self.coordinate = mlp(8 * config.local_dim, 2 * width, 3 * config.coordinate_bins)
        self.coordinate_of_axis = nn.Linear(config.local_dim, config.coordinate_bins)

    def slot_logits(self, role: Tensor, present: Tensor) -> Tensor:
        """Return which species token each atom takes.

        Args:
            role: (B, N, local_dim).
            present: (B, S) bool.

        Returns:
            (B, N, S) logits; absent slots cannot be taken.
        """
        return self.slot(role).masked_fill(~present[:, None, :], _ABSENT)

    def presence_logits(self, role: Tensor) -> Tensor:
        """Return how sure it is (...,) that a role vector (..., local_dim) stands for an atom."""
        return self.presence(role)[..., 0]

    def forward(self, codes: CodeVectors, slots: Tensor) -> AtomPrediction:
        """Decode atoms.

        Args:
            codes: quantised vectors.
            slots: (B, N, S) share of each species token in each atom (softmax of `slot_logits`).
        """
        token = slots @ codes.species
        first, *later = self.from_crystal
        x = self.from_local(codes.local) + self.from_species(token) + first(codes.crystal)[:, None]
        bias = padding_bias(codes.mask)
        for block, from_crystal in zip(self.blocks, later):
            x = block(x + from_crystal(codes.crystal)[:, None], bias)
        x = self.norm(x)
        elements = self.element(x) + self.element_of_slot(token)
        return AtomPrediction(elements=elements, coordinates=self._coordinates(codes), hidden=x)

    def _coordinates(self, codes: CodeVectors) -> Tensor:
        """Return coordinate logits (B, N, 3, K) from the local codes alone.

        Chemistry has no say here, so global genes can never push atoms into each other.
        """
        local = codes.local
        around = atom_mean(local, codes.mask)[:, None].expand_as(local)
        logits = self.coordinate(torch.cat([local, around], -1)).unflatten(-1, (3, self.bins))
        return logits + self.coordinate_of_axis(codes.axes)
