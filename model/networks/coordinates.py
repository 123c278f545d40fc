"""Fractional coordinates on the torus: features, and the periodic categorical."""

from __future__ import annotations

import math

import torch
from torch import Tensor

FREQUENCIES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)
_WINDOW = 2  # bins on either side of the mode that take part in the local mean


def fourier_features(frac: Tensor) -> Tensor:
    """Return sines and cosines of each coordinate; they do not jump where the cell ends.

    Args:
        frac: (..., ) fractional coordinates.

    Returns:
        (..., 16).
    """
    frequencies = torch.tensor(FREQUENCIES, dtype=frac.dtype, device=frac.device)
    angle = 2 * math.pi * frac[..., None] * frequencies
    return torch.cat([angle.sin(), angle.cos()], -1)


def periodic_cross_entropy(logits: Tensor, frac: Tensor) -> Tensor:
    """Return the cross-entropy against a coordinate on a circle of K bins.

    Bin k stands for the coordinate k / K. The target's weight is split linearly between the two
    nearest bins, the last bin's neighbour being the first.

    Args:
        logits: (..., K).
        frac: (...) coordinates, any real number.

    Returns:
        (...) loss in nat.
    """
    bins = logits.shape[-1]
    position = (frac % 1.0) * bins
    below = position.floor()
    weight = position - below
    low = below.long() % bins
    log_p = logits.log_softmax(-1)
    log_low = log_p.gather(-1, low[..., None])[..., 0]
    log_high = log_p.gather(-1, ((low + 1) % bins)[..., None])[..., 0]
    return -(log_low * (1 - weight) + log_high * weight)


def periodic_mean(logits: Tensor) -> Tensor:
    """Return the coordinate a periodic categorical stands for: the mean around its mode.

    Args:
        logits: (..., K).

    Returns:
        (...) coordinates in [0, 1).
    """
    bins = logits.shape[-1]
    probability = logits.softmax(-1)
    mode = probability.argmax(-1)
    offset = torch.arange(-_WINDOW, _WINDOW + 1, device=logits.device)
    near = probability.gather(-1, (mode[..., None] + offset) % bins)
    shift = (near * offset).sum(-1) / near.sum(-1)
    coordinate = ((mode + shift) / bins) % 1.0
    return torch.where(coordinate >= 1.0, torch.zeros_like(coordinate), coordinate)
