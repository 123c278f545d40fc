"""Which of many draws for one composition to believe: groups of like crystals, largest first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from model.data.canonical import Crystal, structure_from_arrays
from model.data.geometry import cell_matrix, minimum_image_distances

SAME = 0.05
"""Mean difference of the sorted distances, in (V/N)^(1/3), below which crystals are alike."""


def distance_profiles(crystals: Sequence[Crystal]) -> NDArray[np.float64]:
    """Describe crystals with the same atoms so that like ones get like numbers.

    The shortest distances of all pairs of atoms, sorted within each pair of elements and divided
    by (V/N)^(1/3): they depend neither on the choice of cell nor on the order of atoms.

    Args:
        crystals: n crystals of the same cell content.

    Returns:
        (n, N (N + 1) / 2); NaN where there is no cell.
    """
    pairs = len(crystals[0].numbers)
    first, second = np.triu_indices(pairs)
    result = np.full((len(crystals), len(first)), np.nan)
    usable = [
        i
        for i, c in enumerate(crystals)
        if structure_from_arrays(c.numbers, c.frac, c.cell)[1] is None
    ]
    if not usable:
        return result
    frac = torch.from_numpy(np.stack([crystals[i].frac for i in usable]))
    matrix = cell_matrix(torch.from_numpy(np.stack([crystals[i].cell for i in usable])))
    distances = minimum_image_distances(frac, matrix).numpy()
    length = (np.abs(np.linalg.det(matrix.numpy())) / pairs) ** (1 / 3)
    for row, i in enumerate(usable):
        z = crystals[i].numbers
        low, high = np.minimum(z[first], z[second]), np.maximum(z[first], z[second])
        values = distances[row][first, second] / length[row]
        result[i] = values[np.lexsort((values, first == second, high, low))]
    return result


def ranked(
    profiles: NDArray[np.float64], log_likelihood: NDArray[np.float64], same: float = SAME
) -> list[int]:
    """Order draws: one of each group of like crystals, the groups by their share of the draws.

    The share of draws that agree estimates the probability the prior gives to a structure, which
    a likelihood of codes cannot: one structure has many codes. Within a group the likeliest
    stands for all. Draws that are left over come after all groups, likeliest first.

    Args:
        profiles: (n, P) of `distance_profiles`.
        log_likelihood: (n,) nats.
        same: see `SAME`.

    Returns:
        The n indices, best first.
    """
    order = np.argsort(-log_likelihood, kind="stable")
    groups: list[list[int]] = []
    for i in order:
        for group in groups:
            if np.abs(profiles[i] - profiles[group[0]]).mean() < same:
                group.append(int(i))
                break
        else:
            groups.append([int(i)])
    groups.sort(key=len, reverse=True)
    others = [i for group in groups for i in group[1:]]
    others.sort(key=lambda i: -log_likelihood[i])
    return [group[0] for group in groups] + others
