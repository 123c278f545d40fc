"""Categorical draws and the memory of a sequence: what all samplers of the prior share."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from model.prior.layers import KeyValue
from model.prior.network import PriorNetwork


class Draws:
    """Draws categoricals and keeps the log probability of what was drawn (B,).

    `log_mass` is the log of the probability that the constraints left at each draw: the weight
    that turns constrained draws into draws from the prior given the constraints.
    """

    def __init__(self, batch: int, random: torch.Generator) -> None:
        self.random = random
        self.log_p = torch.zeros(batch)
        self.log_mass = torch.zeros(batch)

    def draw(
        self,
        logits: Tensor,
        temperature: float,
        keep: Tensor,
        possible: Tensor | None = None,
        *,
        floor: float = 0.0,
    ) -> Tensor:
        """Return one value a row (B,), 0 where not kept.

        Args:
            logits: (B, K), -inf for what cannot be.
            temperature: 0 takes the likeliest.
            keep: (B,) bool.
            possible: (B, K) bool, what the constraint leaves.
            floor: what is less likely than this share of the likeliest is not drawn.
        """
        logits = logits.masked_fill(~keep[:, None], 0.0)
        if possible is not None:
            possible = possible | ~keep[:, None]
            left = tempered(logits, temperature).masked_fill(~possible, -math.inf).logsumexp(-1)
            self.log_mass += torch.where(keep, left, 0.0)
            logits = logits.masked_fill(~possible, -math.inf)
        # A constraint may lead into a dead end: such a row weighs nothing from here on.
        dead = (logits == -math.inf).all(-1)
        self.log_mass[dead] = -math.inf
        logits = logits.masked_fill(dead[:, None], 0.0)
        if floor > 0:
            limit = logits.amax(-1, keepdim=True) + math.log(floor)
            logits = logits.masked_fill(logits < limit, -math.inf)
        log_p = tempered(logits, temperature)
        value = torch.multinomial(log_p.exp(), 1, generator=self.random)[:, 0]
        self.log_p += torch.where(keep, log_p.gather(1, value[:, None])[:, 0], 0.0)
        return value * keep


class Walk:
    """The trunk's memories along a sequence."""

    def __init__(self, network: PriorNetwork, batch: int) -> None:
        self.network = network
        self.valid = torch.zeros(batch, 0, dtype=torch.bool)
        self.memories: list[KeyValue] | None = None

    def step(self, x: Tensor, valid: Tensor) -> Tensor:
        """Append positions x (B, Q, width), valid (B, Q), and return their hidden states."""
        new = x.shape[1]
        self.valid = torch.cat([self.valid, valid], 1)
        total = self.valid.shape[1]
        causal = torch.ones(new, total, dtype=torch.bool).tril(total - new)
        allowed = (causal & self.valid[:, None])[:, None]
        hidden, self.memories = self.network.trunk(x, allowed, self.memories)
        return hidden


def tempered(logits: Tensor, temperature: float) -> Tensor:
    """Return log probabilities at a temperature; 0 puts all on the likeliest."""
    if temperature > 0:
        return (logits / temperature).log_softmax(-1)
    best = torch.full_like(logits, -math.inf)
    return best.scatter(-1, logits.argmax(-1, keepdim=True), 0.0)
