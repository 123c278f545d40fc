"""What chemistry knows of a decoded crystal, as numbers beside the network's own features.

A network that learned from 10^4 crystals knows little of rare elements. Tables know them: so the
head also sees the composition, statistics of element properties over the atoms (as Ward et al.,
npj Comput. Mater. 2, 16028 (2016), doi 10.1038/npjcompumats.2016.28), and which neighbours stand
how close in units of the atomic radii. Everything is computed from what the codes decode to, so it
exists for every point of the code space.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.data.geometry import cell_matrix, reduce_cells
from model.networks.indices import CodeIndices
from model.networks.network import CodeNetwork, DecodedArrays

_TABLE = Path(__file__).parent / "elements.json"
_ELEMENTS = 100
_SHELLS = (0.6, 0.8, 0.9, 1.0, 1.1, 1.25, 1.4, 1.6)  # distance / sum of radii
_SHELL_WIDTH = 0.1
_CUTOFF = 1.9  # beyond the last shell by three widths
_CHUNK = 128  # crystals whose distances are in memory at once
_SMALLEST_DISTANCE = 1e-3  # Å: nearer is the atom itself
_LARGEST = 1e4  # of any descriptor: what overlapping atoms give stays a number


def property_inputs(network: CodeNetwork, indices: CodeIndices) -> Tensor:
    """Return what a property head sees of codes: the network's features, then the descriptors.

    Args:
        network: in evaluation mode.
        indices: B crystals.

    Returns:
        (B, F + `n_descriptors()`) float32.
    """
    decoded, learned = network.decode_with_features(indices)
    return torch.cat([learned.cpu(), descriptors(decoded)], -1)


def n_descriptors() -> int:
    """Return how many numbers `descriptors` gives."""
    properties = _element_table()[0].shape[1]
    return _ELEMENTS + 4 * properties + 2 + 6 * len(_SHELLS)


def descriptors(crystals: Sequence[DecodedArrays]) -> Tensor:
    """Describe crystals by composition, element properties, density and bond shells.

    The columns are: share of each element (100); mean, mean absolute deviation, largest and
    smallest of each standardised element property over the atoms; log of the volume per atom
    (Å^3) and of the sum of the atoms' radii cubed over it; then mean and deviation over the atoms
    of log(1 + s), s being the number of neighbours (among the 27 nearest images of each atom) in
    each shell of distance / sum of radii, the same weighted by the difference of
    electronegativity, and the size of its signed sum.

    Args:
        crystals: atomic numbers (N,), fractional coordinates (N, 3), cell (6,) in Å and degrees.

    Returns:
        (B, D) float32, finite.
    """
    result = torch.zeros(len(crystals), n_descriptors())
    by_size = sorted(range(len(crystals)), key=lambda i: len(crystals[i][0]))
    for start in range(0, len(by_size), _CHUNK):
        rows = by_size[start : start + _CHUNK]
        result[rows] = _described([crystals[i] for i in rows])
    return torch.nan_to_num(result, 0.0, _LARGEST, -_LARGEST).clamp(-_LARGEST, _LARGEST)


def _described(crystals: Sequence[DecodedArrays]) -> Tensor:
    """Describe crystals of similar size together."""
    table, radii, electronegativity = _element_table()
    most = max(len(numbers) for numbers, _, _ in crystals)
    z = torch.zeros(len(crystals), most, dtype=torch.long)
    frac = torch.zeros(len(crystals), most, 3)
    for i, (numbers, coordinates, _) in enumerate(crystals):
        z[i, : len(numbers)] = torch.from_numpy(np.asarray(numbers, dtype=np.int64))
        frac[i, : len(numbers)] = torch.from_numpy(np.asarray(coordinates, dtype=np.float32))
    cell = torch.from_numpy(np.stack([c for _, _, c in crystals]).astype(np.float32))
    mask = z > 0
    share = mask / mask.sum(1, keepdim=True)
    composition = torch.zeros(len(z), _ELEMENTS + 1).scatter_add_(1, z, share)[:, 1:]
    matrix = cell_matrix(cell)
    volume = torch.linalg.det(matrix).abs().clamp(min=1e-3)
    filled = (radii[z] ** 3 * mask).sum(1) / volume
    density = torch.stack([(volume / mask.sum(1)).log(), filled.clamp(min=1e-6).log()], -1)
    shells = _shells(frac, matrix, mask, radii[z], electronegativity[z])
    return torch.cat(
        [
            composition,
            *_statistics(table[z], share),
            density,
            *_mean_and_deviation(shells.log1p(), share),
        ],
        -1,
    )


def _statistics(values: Tensor, share: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return mean, mean absolute deviation, largest and smallest of values (B, N, P)."""
    weight = share[..., None]
    absent = weight == 0
    mean = (values * weight).sum(1)
    deviation = ((values - mean[:, None]).abs() * weight).sum(1)
    largest = values.masked_fill(absent, -torch.inf).amax(1)
    return mean, deviation, largest, values.masked_fill(absent, torch.inf).amin(1)


def _mean_and_deviation(values: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation over the atoms of values (B, N, P)."""
    weight = share[..., None]
    mean = (values * weight).sum(1)
    return mean, (((values - mean[:, None]) ** 2) * weight).sum(1).clamp(min=0).sqrt()


def _shells(
    frac: Tensor, matrix: Tensor, mask: Tensor, radii: Tensor, electronegativity: Tensor
) -> Tensor:
    """Count neighbours by shell of distance / sum of radii: plain, weighted, signed.

    Args:
        frac: (B, N, 3).
        matrix: (B, 3, 3) row vectors in Å.
        mask: (B, N) bool.
        radii: (B, N) in Å.
        electronegativity: (B, N).

    Returns:
        (B, N, 3 x shells), not negative.
    """
    batch, atoms = mask.shape
    # The nearest image and the 26 around it in the reduced cell. Where an edge is shorter than half
    # the reach (one or two large atoms in a cell) the outermost shells miss neighbours beyond.
    basis, transform = reduce_cells(matrix.double())
    reduced = frac.double() @ torch.linalg.inv(transform).round()
    difference = reduced[:, None] - reduced[:, :, None]
    vector = ((difference - difference.round()) @ basis[:, None]).float()
    images = torch.tensor(list(itertools.product((-1.0, 0.0, 1.0), repeat=3))) @ basis.float()
    squared = (
        vector.pow(2).sum(-1)[..., None]
        + images.pow(2).sum(-1)[:, None, None]
        + 2 * (vector.flatten(1, 2) @ images.mT).unflatten(1, (atoms, atoms))
    )
    reach = radii[:, :, None] + radii[:, None]
    near = squared < ((_CUTOFF * reach) ** 2 * (mask[:, :, None] & mask[:, None]))[..., None]
    b, i, j, k = (near & (squared > _SMALLEST_DISTANCE**2)).nonzero(as_tuple=True)
    scaled = squared[b, i, j, k].sqrt() / reach[b, i, j]
    within = torch.exp(-(((scaled[:, None] - torch.tensor(_SHELLS)) / _SHELL_WIDTH) ** 2) / 2)
    contrast = (electronegativity[b, j] - electronegativity[b, i])[:, None]
    counted = torch.cat([within, within * contrast.abs(), within * contrast], -1)
    sums = torch.zeros(batch * atoms, counted.shape[1]).index_add_(0, b * atoms + i, counted)
    return sums.abs().view(batch, atoms, -1)


@functools.lru_cache(maxsize=1)
def _element_table() -> tuple[Tensor, Tensor, Tensor]:
    """Return standardised properties (101, P), radii in Å (101,), electronegativities (101,).

    Row 0 is padding. An unknown value is replaced by the mean of the known ones.
    """
    content = json.loads(_TABLE.read_text())
    rows = np.array(list(content["elements"].values()), dtype=np.float64)
    rows = np.where(np.isnan(rows), np.nanmean(rows, axis=0), rows)
    names = content["properties"]
    plain = torch.zeros(_ELEMENTS + 1, rows.shape[1])
    plain[1:] = torch.from_numpy(rows)
    scaled = torch.zeros_like(plain)
    scaled[1:] = (plain[1:] - plain[1:].mean(0)) / plain[1:].std(0)
    return scaled, plain[:, names.index("radius")], plain[:, names.index("electronegativity")]
