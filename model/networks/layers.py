"""The building blocks encoder and decoder share."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Return a perceptron with one hidden GELU layer."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


def atom_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Average over the atoms of each crystal: (B, N, d), (B, N) bool → (B, d)."""
    weight = mask[..., None].to(values.dtype)
    return (values * weight).sum(1) / weight.sum(1)


class TransformerBlock(nn.Module):
    """Pre-norm self-attention and feed-forward over the atoms of a crystal."""

    def __init__(self, width: int, heads: int, expansion: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.feed_norm = nn.LayerNorm(width)
        self.feed = mlp(width, expansion * width, width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Update atoms.

        Args:
            x: (B, N, width).
            bias: added to the attention logits, broadcastable to (B, heads, N, N).

        Returns:
            (B, N, width).
        """
        batch, atoms, width = x.shape
        projected = self.query_key_value(self.attention_norm(x))
        q, k, v = projected.view(batch, atoms, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        x = x + self.attention_out(mixed.transpose(1, 2).reshape(batch, atoms, width))
        return x + self.feed(self.feed_norm(x))
