"""Blocks of the prior: causal attention that remembers, and heads that predict code by code."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KeyValue = tuple[Tensor, Tensor]
"""Keys and values (B, heads, T, width / heads) of the positions seen so far."""


def attend(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None) -> Tensor:
    """Return scaled dot-product attention (B, heads, Q, D).

    Written out, because for these short sequences the fused kernel's gradient takes half of the
    training on a CPU.

    Args:
        q: (B, heads, Q, D).
        k: (B, heads, T, D).
        v: (B, heads, T, D).
        allowed: bool, broadcastable to (B, heads, Q, T), or None for all.
    """
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -math.inf)
    return scores.softmax(-1).to(v.dtype) @ v


class CausalBlock(nn.Module):
    """Pre-norm attention to permitted positions, then a feed-forward network."""

    def __init__(self, width: int, heads: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.feed = FeedForward(width, expansion, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, allowed: Tensor, memory: KeyValue | None = None
    ) -> tuple[Tensor, KeyValue]:
        """Update positions.

        Args:
            x: (B, Q, width) new positions.
            allowed: (B, 1, Q, T) bool, which of the T positions (remembered, then new) each
                may see; at least one each.
            memory: keys and values of the earlier positions.

        Returns:
            (B, Q, width) and the memory including the new positions.
        """
        batch, queries, _ = x.shape
        projected = self.query_key_value(self.attention_norm(x))
        q, k, v = projected.view(batch, queries, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if memory is not None:
            k, v = torch.cat([memory[0], k], 2), torch.cat([memory[1], v], 2)
        mixed = attend(q, k, v, allowed)
        x = x + self.dropout(self.attention_out(mixed.transpose(1, 2).reshape(x.shape)))
        return x + self.feed(x), (k, v)


class FeedForward(nn.Module):
    """Pre-norm perceptron with one hidden GELU layer; the residual is added by the caller."""

    def __init__(self, width: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, expansion * width)
        self.out = nn.Linear(expansion * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return the update (..., width) of x (..., width)."""
        update: Tensor = self.dropout(self.out(F.gelu(self.hidden(self.norm(x)))))
        return update


class CodeHead(nn.Module):
    """Predicts the codes of one item one after the other from its hidden state.

    One feed-forward network serves all steps; a step is told by an embedding, the codes already
    known by the sum of theirs.
    """

    def __init__(self, width: int, steps: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.step = nn.Parameter(torch.randn(steps, width) * 0.02)
        self.feed = FeedForward(width, expansion, dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, hidden: Tensor, step: int, known: Tensor | None = None) -> Tensor:
        """Return the vector (..., width) whose product with code vectors gives logits.

        Args:
            hidden: (..., width) of the item.
            step: which code comes next.
            known: (..., width) embedding of the item's earlier codes.
        """
        z = hidden + self.step[step]
        if known is not None:
            z = z + known
        out: Tensor = self.norm(z + self.feed(z))
        return out


class AtomHead(nn.Module):
    """Predicts role and axis codes of an atom; before each code it looks at the earlier atoms.

    Where an atom may sit along an axis depends on which earlier atoms share its other
    coordinates: too close to them, or their image under a symmetry. These are known only inside
    the step, so every step asks again.
    """

    def __init__(self, width: int, heads: int, steps: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.step = nn.Parameter(torch.randn(steps, width) * 0.02)
        self.nobody = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.query_norm = nn.LayerNorm(width)
        self.memory_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.attention_out = nn.Linear(width, width)
        self.feed = FeedForward(width, expansion, dropout)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def remember(self, atoms: Tensor) -> KeyValue:
        """Return keys and values of atoms (B, N, width) that later ones look at."""
        projected = self.key_value(self.memory_norm(atoms))
        k, v = projected.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return k, v

    def start(self, batch: int) -> KeyValue:
        """Return the memory before the first atom: a place holder that is always visible."""
        return self.remember(self.nobody.expand(batch, -1, -1))

    def forward(self, z: Tensor, allowed: Tensor | None, memory: KeyValue) -> Tensor:
        """Return the vectors (B, Q, width) whose product with code vectors gives logits.

        Args:
            z: (B, Q, width) hidden states plus step and known codes.
            allowed: (B, 1, Q, N + 1) bool, or None where all of the memory is visible.
            memory: keys and values of the place holder and N atoms.
        """
        q = self.query(self.query_norm(z)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        mixed = attend(q, *memory, allowed)
        z = z + self.dropout(self.attention_out(mixed.transpose(1, 2).flatten(2)))
        out: Tensor = self.norm(z + self.feed(z))
        return out
