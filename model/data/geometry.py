"""Cells and distances as tensors."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor


def cell_matrix(cell: Tensor) -> Tensor:
    """Return the row vectors of cells given by lengths and angles (a along x, b in the xy plane).

    Args:
        cell: (B, 6), Å and degrees.

    Returns:
        (B, 3, 3) in Å.
    """
    a, b, c = cell[:, 0], cell[:, 1], cell[:, 2]
    cos_alpha, cos_beta, cos_gamma = torch.cos(torch.deg2rad(cell[:, 3:])).unbind(-1)
    sin_gamma = torch.sqrt(1 - cos_gamma**2)
    x = cos_beta
    y = (cos_alpha - cos_beta * cos_gamma) / sin_gamma
    z = torch.sqrt((1 - x**2 - y**2).clamp(min=1e-12))
    zero = torch.zeros_like(a)
    rows = (
        torch.stack([a, zero, zero], -1),
        torch.stack([b * cos_gamma, b * sin_gamma, zero], -1),
        torch.stack([c * x, c * y, c * z], -1),
    )
    return torch.stack(rows, 1)


def minimum_image_distances(frac: Tensor, matrix: Tensor) -> Tensor:
    """Return the distance of every pair of atoms to the nearest image.

    The 27 cells around the wrapped difference are searched, which is exact for cells that are not
    extremely skewed. On the diagonal stands the distance of an atom to its own nearest copy.

    Args:
        frac: (B, N, 3) fractional coordinates.
        matrix: (B, 3, 3) row vectors in Å.

    Returns:
        (B, N, N) in Å.
    """
    difference = frac[:, None, :, :] - frac[:, :, None, :]
    difference = difference - difference.round()
    same_atom = torch.eye(frac.shape[1], dtype=torch.bool, device=frac.device)
    nearest = torch.full(difference.shape[:-1], torch.inf, dtype=frac.dtype, device=frac.device)
    for shift in itertools.product((-1.0, 0.0, 1.0), repeat=3):
        image = difference + torch.tensor(shift, dtype=frac.dtype, device=frac.device)
        squared = (image @ matrix[:, None]).pow(2).sum(-1)
        if not any(shift):
            squared = squared.masked_fill(same_atom, torch.inf)
        nearest = torch.minimum(nearest, squared)
    return nearest.sqrt()
