"""Crystals of a data set or batch as padded tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from model.data.canonical import CanonicalCrystal
from model.data.geometry import cell_matrix, minimum_image_distances

_DISTANCE_CHUNK = 256  # crystals of similar size whose distances are computed at once


@dataclass(frozen=True)
class CrystalTensors:
    """B canonical crystals, padded to N atoms.

    Attributes:
        n_atoms: (B,) int64.
        numbers: (B, N) atomic numbers, 0 = padding.
        ranks: (B, N) electronegativity rank of each atom's element.
        frac: (B, N, 3) fractional coordinates.
        cell: (B, 6) Å and degrees.
        distances: (B, N, N) minimum-image distances in Å, 0 where one of the two is padding.
    """

    n_atoms: Tensor
    numbers: Tensor
    ranks: Tensor
    frac: Tensor
    cell: Tensor
    distances: Tensor

    @classmethod
    def from_canonical(cls, crystals: Sequence[CanonicalCrystal]) -> CrystalTensors:
        """Pad canonical crystals and compute their distances."""
        size = max(len(c.numbers) for c in crystals)
        numbers = np.zeros((len(crystals), size), dtype=np.int64)
        ranks = np.zeros_like(numbers)
        frac = np.zeros((len(crystals), size, 3), dtype=np.float32)
        for i, c in enumerate(crystals):
            n = len(c.numbers)
            numbers[i, :n], ranks[i, :n], frac[i, :n] = c.numbers, c.ranks, c.frac
        n_atoms = torch.tensor([len(c.numbers) for c in crystals])
        coordinates = torch.from_numpy(frac)
        cell = torch.from_numpy(np.stack([c.cell for c in crystals]).astype(np.float32))
        matrix = cell_matrix(cell)
        distances = torch.zeros(len(crystals), size, size)
        for rows in n_atoms.argsort(stable=True).split(_DISTANCE_CHUNK):
            n = int(n_atoms[rows].max())
            atoms = torch.arange(n) < n_atoms[rows, None]
            part = minimum_image_distances(coordinates[rows, :n], matrix[rows])
            distances[rows, :n, :n] = part * (atoms[:, :, None] & atoms[:, None])
        return cls(
            n_atoms=n_atoms,
            numbers=torch.from_numpy(numbers),
            ranks=torch.from_numpy(ranks),
            frac=coordinates,
            cell=cell,
            distances=distances,
        )

    def __len__(self) -> int:
        return len(self.n_atoms)

    @property
    def mask(self) -> Tensor:
        """(B, N) bool, True for atoms, False for padding."""
        columns = torch.arange(self.numbers.shape[1], device=self.n_atoms.device)
        return columns[None] < self.n_atoms[:, None]

    def select(self, rows: Tensor) -> CrystalTensors:
        """Return some crystals, padded only as far as these need."""
        n_atoms = self.n_atoms[rows]
        size = int(n_atoms.max())
        return CrystalTensors(
            n_atoms=n_atoms,
            numbers=self.numbers[rows, :size],
            ranks=self.ranks[rows, :size],
            frac=self.frac[rows, :size],
            cell=self.cell[rows],
            distances=self.distances[rows, :size, :size],
        )

    def to(self, device: str | torch.device) -> CrystalTensors:
        """Return the same crystals on another device."""
        return CrystalTensors(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def shuffled_batches(n_atoms: Tensor, size: int, random: torch.Generator) -> Iterator[Tensor]:
    """Yield row numbers of batches of similar cells, in random order.

    Rows are sorted by atom count with ties broken at random, cut into batches, and the batches
    shuffled, so little is padded.

    Args:
        n_atoms: (B,) atom counts, on the CPU.
        size: rows in a batch.
        random: source of the order.
    """
    order = (n_atoms + torch.rand(len(n_atoms), generator=random) * 0.9).argsort()
    batches = order.split(size)
    for i in torch.randperm(len(batches), generator=random).tolist():
        yield batches[i]
