"""CSPNet: message passing that is invariant under periodic translations of a crystal."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from model.data.geometry import cell_matrix
from model.networks.layers import mlp

GRAM = 6


def gram_entries(cell: Tensor) -> Tensor:
    """Return the upper triangle of the Gram matrix of the cell vectors.

    L L^T does not change when the crystal is rotated (DiffCSP, arXiv 2309.04475, section 4.2).

    Args:
        cell: (B, 6) Å and degrees.

    Returns:
        (B, 6) in Å^2: aa, ab, ac, bb, bc, cc.
    """
    matrix = cell_matrix(cell)
    gram = matrix @ matrix.transpose(1, 2)
    row, column = torch.triu_indices(3, 3, device=cell.device)
    return gram[:, row, column]


def difference_features(frac: Tensor, frequencies: int) -> Tensor:
    """Return sines and cosines of the fractional differences f_j - f_i of all pairs.

    The Fourier transformation psi_FT of DiffCSP (arXiv 2309.04475, equation 7): whole cells added
    to an atom, and a translation of all atoms, change nothing.

    Args:
        frac: (B, N, 3).
        frequencies: K, whole numbers of waves 1 … K in the cell.

    Returns:
        (B, N, N, 6 K); the pair (i, j) stands at [:, i, j].
    """
    waves = torch.arange(1, frequencies + 1, dtype=frac.dtype, device=frac.device)
    difference = frac[:, None, :, :] - frac[:, :, None, :]
    angle = 2 * math.pi * difference[..., None] * waves
    return torch.cat([angle.sin(), angle.cos()], -1).flatten(-2)


class CSPLayer(nn.Module):
    """One layer: m_ij = phi_m(h_i, h_j, L L^T, psi(f_j - f_i)); h_i += phi_h(h_i, mean_j m_ij).

    DiffCSP, arXiv 2309.04475, equations 5 and 6, over all pairs of a crystal's atoms. The mean
    instead of the sum keeps messages alike in small and large cells.
    """

    def __init__(self, width: int, frequencies: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        # The first layer of phi_m by parts: the parts of atoms and cell are not made per pair.
        self.receiver = nn.Linear(width, width)
        self.sender = nn.Linear(width, width, bias=False)
        self.cell = nn.Linear(GRAM, width, bias=False)
        self.difference = nn.Linear(6 * frequencies, width, bias=False)
        self.message = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.update = mlp(2 * width, width, width)

    def messages(self, h: Tensor, gram: Tensor, difference: Tensor) -> Tensor:
        """Return m_ij (B, N, N, width); arguments as in `forward`."""
        atoms = self.receiver(h)[:, :, None] + self.sender(h)[:, None, :]
        pairs = self.difference(difference) + self.cell(gram)[:, None, None]
        return self.message(atoms + pairs)

    def forward(self, h: Tensor, gram: Tensor, difference: Tensor, pairs: Tensor) -> Tensor:
        """Update atoms.

        Args:
            h: (B, N, width).
            gram: (B, 6) standardised Gram entries.
            difference: (B, N, N, 6 K), see `difference_features`.
            pairs: (B, N, N) bool, True where both are atoms.

        Returns:
            (B, N, width).
        """
        normed = self.norm(h)
        weight = pairs[..., None].to(h.dtype)
        messages = self.messages(normed, gram, difference) * weight
        mean = messages.sum(2) / weight.sum(2).clamp(min=1)
        return h + self.update(torch.cat([normed, mean], -1))
