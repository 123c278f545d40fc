"""The lattice relative to chemistry: what species and roles expect, plus a correction."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.networks.layers import atom_mean, mlp

_MIN_SCALE = 0.02  # of log length per atom and angle / 180°: keeps constant angles harmless


def raw_lattice(cell: Tensor, n_atoms: Tensor) -> Tensor:
    """Return log(length / N^(1/3)) and angle / 180.

    Args:
        cell: (B, 6) Å and degrees.
        n_atoms: (B,).

    Returns:
        (B, 6).
    """
    lengths = torch.log(cell[:, :3] / n_atoms[:, None].to(cell.dtype) ** (1 / 3))
    return torch.cat([lengths, cell[:, 3:] / 180], -1)


class RelativeLattice(nn.Module):
    """Lattice = base(species tokens, local codes, N) + correction(crystal token), standardised.

    The base lets the cell follow a change of species on its own; the crystal token only has to
    say how this crystal differs from what its chemistry suggests.
    """

    def __init__(
        self, *, width: int, species_dim: int, local_dim: int, crystal_dim: int, max_atoms: int
    ) -> None:
        """Create the two parts.

        Args:
            width: hidden width.
            species_dim: width of a species token.
            local_dim: width of an atom's four local code vectors together.
            crystal_dim: width of the crystal token.
            max_atoms: largest cell.
        """
        super().__init__()
        self.species = mlp(species_dim, width, width)
        self.count = nn.Embedding(max_atoms + 1, width)
        self.base = mlp(2 * width + local_dim, 2 * width, 6)
        self.correction = mlp(crystal_dim, width, 6)
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("scale", torch.ones(6))

    mean: Tensor
    scale: Tensor

    def fit_scale(self, cell: Tensor, n_atoms: Tensor) -> None:
        """Set mean and scale from the training cells (B, 6)."""
        raw = raw_lattice(cell, n_atoms)
        self.mean.copy_(raw.mean(0))
        self.scale.copy_(raw.std(0).clamp(min=_MIN_SCALE))

    def standardise(self, cell: Tensor, n_atoms: Tensor) -> Tensor:
        """Return cells (B, 6) in standardised form."""
        return (raw_lattice(cell, n_atoms) - self.mean) / self.scale

    def restore(self, lattice: Tensor, n_atoms: Tensor) -> Tensor:
        """Return standardised lattices (B, 6) in Å and degrees; inverse of `standardise`."""
        raw = lattice * self.scale + self.mean
        lengths = raw[:, :3].exp() * n_atoms[:, None].to(lattice.dtype) ** (1 / 3)
        return torch.cat([lengths, raw[:, 3:] * 180], -1)

    def expected(
        self, species: Tensor, present: Tensor, roles: Tensor, local: Tensor, mask: Tensor
    ) -> Tensor:
        """Return the standardised lattice chemistry and geometry suggest.

        Args:
            species: (B, S, species_dim) tokens.
            present: (B, S) bool, which slots are used.
            roles: (B, N, S) share of each slot in each atom.
            local: (B, N, local_dim) local code vectors.
            mask: (B, N) bool.

        Returns:
            (B, 6).
        """
        share = atom_mean(roles, mask) * present
        composition = (F.gelu(self.species(species)) * share[..., None]).sum(1)
        count = self.count(mask.sum(1))
        return self.base(torch.cat([composition, atom_mean(local, mask), count], -1))
