"""How near an atom would come to earlier ones: what the last axis code decides."""

from __future__ import annotations

import torch
from torch import Tensor

BINS = (
    *(0.02, 0.04, 0.06, 0.08, 0.1, 0.125, 0.15, 0.175, 0.2, 0.225, 0.25, 0.275, 0.3),
    *(1 / 3, 0.36, 0.4, 0.45, 0.5, 0.6, 0.7),
)
"""Edges of the bins, in fractions of the cell."""
_NOBODY = 9.0  # squared distance where there is no such atom


def squared_gaps(coordinate: Tensor) -> Tensor:
    """Return the squared periodic distances (A, A) between the coordinates (A,) of axis codes."""
    gap = (coordinate[:, None] - coordinate + 0.5) % 1.0 - 0.5
    return gap**2


def bins(nearest: Tensor) -> Tensor:
    """Return the bins of squared distances."""
    return torch.bucketize(nearest, torch.tensor(BINS) ** 2)


def nearest_earlier(
    gaps: Tensor, earlier: Tensor, others: Tensor, own: Tensor, before: Tensor
) -> Tensor:
    """Return the squared distance to the nearest earlier atom for each last axis code.

    Distances are Euclidean in fractional coordinates, each axis taken to its nearest image. The
    cell is not known where atoms are drawn: what a distance means is left to the network, which
    weighs the bins by what it knows of the crystal.

    Args:
        gaps: (A, A) of `squared_gaps`.
        earlier: (B, N, 3) axis codes of atoms.
        others: (B, Q, 2) first two axis codes of the atoms to be placed.
        own: (B, Q, N) bool, whether an atom is of the same species.
        before: (B, Q, N) or broadcastable bool, whether it counts as earlier.

    Returns:
        (B, Q, A, 2): nearest of the same species, nearest of the others.
    """
    plane = gaps[others[:, :, None, 0], earlier[:, None, :, 0]]
    plane = plane + gaps[others[:, :, None, 1], earlier[:, None, :, 1]]
    along = gaps[earlier[..., 2]]  # (B, N, A)
    nearest = []
    for kind in (own, ~own):
        far = plane.masked_fill(~(before & kind), _NOBODY)
        nearest.append((far[..., None] + along[:, None]).amin(2))
    return torch.stack(nearest, -1)
