"""Cells and distances as tensors."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

_SHORTER = 1 - 1e-6  # a change of basis must shorten a vector by more than rounding does
_MAX_ROUNDS = 100  # a cell of edges 1:1000 and angles of 1° takes about ten

_ALL_SHIFTS = tuple(itertools.product((-1.0, 0.0, 1.0), repeat=3))
_HALF_SHIFTS = _ALL_SHIFTS[14:]  # one of each pair of opposite shifts, without no shift


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


def reduce_cells(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Minkowski-reduced bases of lattices.

    No vector of a reduced basis becomes shorter by adding integer multiples of the other two, so
    the nearest image of a wrapped difference is among its 27 neighbours. Greedy algorithm:
    Nguyen and Stehlé, ACM Trans. Algorithms 5, 46 (2009), doi 10.1145/1597036.1597050.

    Args:
        matrix: (B, 3, 3) row vectors in Å.

    Returns:
        reduced: (B, 3, 3) row vectors in Å.
        transform: (B, 3, 3) integers of determinant ±1 with reduced = transform @ matrix. A cell
            that is reduced already is returned as it is, with the identity.
    """
    reduced = matrix.clone()
    transform = torch.eye(3, dtype=matrix.dtype, device=matrix.device).repeat(len(matrix), 1, 1)
    rows = torch.arange(len(matrix), device=matrix.device)
    for _ in range(_MAX_ROUNDS):
        basis = reduced[rows]
        step = _shortening(basis)
        changed = (step @ basis).pow(2).sum((-1, -2)) < _SHORTER * basis.pow(2).sum((-1, -2))
        rows, step = rows[changed], step[changed]
        if not len(rows):
            break
        reduced[rows] = step @ reduced[rows]
        transform[rows] = step @ transform[rows]
    return reduced, transform


def _shortening(basis: Tensor) -> Tensor:
    """Return one round of the greedy algorithm as integer matrices.

    The second shortest vector is shortened by the shortest, then the longest by both.

    Args:
        basis: (B, 3, 3) row vectors.

    Returns:
        (B, 3, 3), to be multiplied from the left.
    """
    order = basis.pow(2).sum(-1).argsort(-1)
    step = torch.eye(3, dtype=basis.dtype, device=basis.device)[order]
    a, b, c = (step @ basis).unbind(1)
    aa = a.pow(2).sum(-1).clamp(min=torch.finfo(basis.dtype).tiny)
    of_b = -((a * b).sum(-1) / aa).round()
    b = b + of_b[:, None] * a
    step[:, 1] += of_b[:, None] * step[:, 0]
    # The nearest point of the plane lattice to c: round c's projection, then try its neighbours.
    ab, bb, ac, bc = (a * b).sum(-1), b.pow(2).sum(-1), (a * c).sum(-1), (b * c).sum(-1)
    area = (aa * bb - ab**2).clamp(min=torch.finfo(basis.dtype).tiny)
    centre = torch.stack([(bb * ac - ab * bc) / area, (aa * bc - ab * ac) / area], -1).round()
    around = list(itertools.product((0.0, -1.0, 1.0), repeat=2))
    choices = -(centre[:, None] + torch.tensor(around, dtype=basis.dtype, device=basis.device))
    plane = torch.stack([a, b], 1)
    best = (c[:, None] + choices @ plane).pow(2).sum(-1).argmin(-1)
    of_c = choices[torch.arange(len(basis), device=basis.device), best]
    step[:, 2] += (of_c[:, None] @ step[:, :2])[:, 0]
    return step


def minimum_image_distances(frac: Tensor, matrix: Tensor) -> Tensor:
    """Return the distance of every pair of atoms to the nearest image, exact for any cell.

    On the diagonal stands the distance of an atom to its own nearest copy.

    Args:
        frac: (B, N, 3) fractional coordinates.
        matrix: (B, 3, 3) row vectors in Å.

    Returns:
        (B, N, N) in Å.
    """
    basis, transform = reduce_cells(matrix.double())
    inverse = torch.linalg.inv(transform).round()
    n = frac.shape[1]
    first, second = torch.triu_indices(n, n, 1, device=frac.device)
    reduced_frac = frac.double() @ inverse
    difference = reduced_frac[:, second] - reduced_frac[:, first]
    vector = (difference - difference.round()) @ basis  # (B, pairs, 3)
    shifts = torch.tensor(_HALF_SHIFTS, dtype=basis.dtype, device=frac.device) @ basis
    squared = shifts.pow(2).sum(-1)  # (B, 13)
    # |v ± s|^2 = |v|^2 + |s|^2 ± 2 v·s: of the two opposite shifts the smaller is tried.
    projection = (vector @ shifts.mT).abs_()
    gain = (squared[:, None] - 2 * projection).amin(-1).clamp_(max=0)
    nearest = (vector.pow(2).sum(-1) + gain).clamp_(min=0).sqrt_()
    distances = squared.amin(-1).sqrt()[:, None, None] * torch.eye(
        n, dtype=basis.dtype, device=frac.device
    )
    distances[:, first, second] = nearest
    distances[:, second, first] = nearest
    return distances.to(frac.dtype)
