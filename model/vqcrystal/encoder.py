"""The encoder: a transformer for atoms, a graph network and CSPNet for the whole crystal."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.data.canonical import MAX_ATOMIC_NUMBER
from model.data.tensors import CrystalTensors
from model.networks.coordinates import FREQUENCIES, fourier_features
from model.networks.layers import TransformerBlock, atom_mean, mlp
from model.vqcrystal.convolution import GraphBlock, adjacency, attention_bias
from model.vqcrystal.cspnet import GRAM, CSPLayer, difference_features, gram_entries
from model.vqcrystal.settings import VQCrystalConfig

_SHORTEST = 0.5  # Å, centre of the first Gaussian
_MIN_SCALE = 1.0  # Å^2: keeps constant Gram entries harmless


class VQCrystalEncoder(nn.Module):
    """z_l = transformer(F); z_g = pool(GCN(z_l) + CSPNet(elements, lattice, differences)).

    Source: doi 10.1038/s41524-025-01613-6, encoder. F is element, coordinates and lattice, the
    lattice broadcast over the atoms. Coordinates enter as sines and cosines because they live on
    a torus: 0.99 is next to 0.01.
    """

    def __init__(self, config: VQCrystalConfig) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.element = nn.Embedding(MAX_ATOMIC_NUMBER + 1, width)
        self.position = nn.Linear(6 * len(FREQUENCIES), width)
        self.lattice = nn.Linear(6, width)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, config.heads) for _ in range(config.local_blocks)
        )
        self.to_local = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, config.code_dim), _unit_spread(config.code_dim)
        )
        self.from_local = nn.Linear(config.code_dim, width)
        self.graph = nn.ModuleList(
            GraphBlock(width, config.heads, config.gaussians) for _ in range(config.graph_blocks)
        )
        self.species = nn.Embedding(MAX_ATOMIC_NUMBER + 1, width)
        self.cspnet = nn.ModuleList(
            CSPLayer(width, config.frequencies) for _ in range(config.cspnet_blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.to_global = nn.Sequential(
            mlp(width, 2 * width, config.code_dim), _unit_spread(config.code_dim)
        )
        self.register_buffer("gram_mean", torch.zeros(GRAM))
        self.register_buffer("gram_scale", torch.ones(GRAM))
        centres = torch.linspace(_SHORTEST, config.cutoff, config.gaussians)
        self.register_buffer("centres", centres, persistent=False)

    gram_mean: Tensor
    gram_scale: Tensor
    centres: Tensor

    def fit_scale(self, cell: Tensor) -> None:
        """Standardise Gram entries by those of the training cells (B, 6)."""
        gram = gram_entries(cell)
        self.gram_mean.copy_(gram.mean(0))
        self.gram_scale.copy_(gram.std(0).clamp(min=_MIN_SCALE))

    def forward(self, crystals: CrystalTensors, lattice: Tensor) -> tuple[Tensor, Tensor]:
        """Encode crystals.

        Args:
            crystals: B crystals, N atoms.
            lattice: (B, 6) standardised lattices.

        Returns:
            z_l (B, N, code_dim) and z_g (B, code_dim), not quantised.
        """
        local = self._local(crystals, lattice)
        atoms = self._graph(crystals, local) + self._cspnet(crystals)
        return local, self.to_global(atom_mean(self.norm(atoms), crystals.mask))

    def _local(self, crystals: CrystalTensors, lattice: Tensor) -> Tensor:
        """Return z_l (B, N, code_dim)."""
        waves = fourier_features(crystals.frac).flatten(-2)
        x = self.element(crystals.numbers) + self.position(waves) + self.lattice(lattice)[:, None]
        bias = attention_bias(crystals.mask)
        for block in self.blocks:
            x = block(x, bias)
        local: Tensor = self.to_local(x)
        return local

    def _graph(self, crystals: CrystalTensors, local: Tensor) -> Tensor:
        """Return GCN(z_l) (B, N, width)."""
        spacing = self.centres[1] - self.centres[0]
        shells = torch.exp(-(((crystals.distances[..., None] - self.centres) / spacing) ** 2))
        neighbours = adjacency(crystals.distances, crystals.mask, self.config.cutoff)
        v: Tensor = self.from_local(local)
        for block in self.graph:
            v = block(v, shells, neighbours, crystals.mask)
        return v

    def _cspnet(self, crystals: CrystalTensors) -> Tensor:
        """Return CSPNet's atoms (B, N, width); absolute coordinates never enter."""
        gram = (gram_entries(crystals.cell) - self.gram_mean) / self.gram_scale
        difference = difference_features(crystals.frac, self.config.frequencies)
        pairs = crystals.mask[:, None] & crystals.mask[:, :, None]
        h: Tensor = self.species(crystals.numbers)
        for layer in self.cspnet:
            h = layer(h, gram, difference, pairs)
        return h


def _unit_spread(width: int) -> nn.LayerNorm:
    """Return the norm that ends both branches.

    It fixes the length of what is quantised at sqrt(width): otherwise the vectors grow faster
    than a codebook of moving averages follows, and a temperature in units of distance means
    something else in every epoch.
    """
    return nn.LayerNorm(width, elementwise_affine=False)
