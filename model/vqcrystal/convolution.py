"""The graph branch: a graph transformer and a gated crystal graph convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.networks.layers import TransformerBlock

_FORBIDDEN = -1e9


def attention_bias(allowed: Tensor) -> Tensor:
    """Return the bias that forbids attention.

    Args:
        allowed: bool, (B, N) for what may be seen by all, or (B, N, N) for who sees whom.

    Returns:
        (B, 1, 1, N) or (B, 1, N, N), to be added to attention logits.
    """
    bias = torch.zeros(allowed.shape, device=allowed.device).masked_fill(~allowed, _FORBIDDEN)
    return bias[:, None, None] if allowed.dim() == 2 else bias[:, None]


def adjacency(distances: Tensor, mask: Tensor, cutoff: float) -> Tensor:
    """Return which atoms are neighbours.

    Args:
        distances: (B, N, N) minimum-image distances in Å; on the diagonal to the own nearest copy.
        mask: (B, N) bool.
        cutoff: Å.

    Returns:
        (B, N, N) bool, False for padding.
    """
    return (distances <= cutoff) & mask[:, None] & mask[:, :, None]


class GraphBlock(nn.Module):
    """Attention among neighbours, then the gated convolution of CGCNN.

    Convolution: v_i += g(sum_j sigma(z_ij W_f + b_f) * softplus(z_ij W_s + b_s)) with
    z_ij = v_i, v_j, u_ij (doi 10.1103/PhysRevLett.120.145301, equation 5); u_ij are Gaussians of
    the distance, g a layer norm. The transformer before it is VQCrystal's
    (doi 10.1038/s41524-025-01613-6).
    """

    def __init__(self, width: int, heads: int, gaussians: int) -> None:
        super().__init__()
        self.attention = TransformerBlock(width, heads)
        self.norm = nn.LayerNorm(width)
        self.receiver = nn.Linear(width, 2 * width)
        self.sender = nn.Linear(width, 2 * width, bias=False)
        self.edge = nn.Linear(gaussians, 2 * width, bias=False)
        self.message_norm = nn.LayerNorm(width)

    def forward(self, v: Tensor, shells: Tensor, neighbours: Tensor, mask: Tensor) -> Tensor:
        """Update atoms.

        Args:
            v: (B, N, width).
            shells: (B, N, N, gaussians) of the distances.
            neighbours: (B, N, N) bool.
            mask: (B, N) bool.

        Returns:
            (B, N, width).
        """
        itself = torch.eye(v.shape[1], dtype=torch.bool, device=v.device)
        v = self.attention(v, attention_bias((neighbours | itself) & mask[:, None]))
        normed = self.norm(v)
        pairs = self.receiver(normed)[:, :, None] + self.sender(normed)[:, None, :]
        gate, core = (pairs + self.edge(shells)).chunk(2, -1)
        messages = gate.sigmoid() * F.softplus(core) * neighbours[..., None]
        return v + self.message_norm(messages.sum(2))
