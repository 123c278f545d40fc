"""Crystals as graphs for MEGNet: atoms, and bonds to everything within a cut-off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from pymatgen.core import Structure


@dataclass(frozen=True)
class CrystalGraph:
    """One crystal as arrays.

    Attributes:
        atomic_numbers: (N,).
        first: (E,) index of the atom a bond starts at.
        second: (E,) index of the atom it ends at, in whatever periodic image.
        distances: (E,) bond lengths (Å).
    """

    atomic_numbers: np.ndarray
    first: np.ndarray
    second: np.ndarray
    distances: np.ndarray

    @property
    def isolated(self) -> list[int]:
        """Atoms without a bond."""
        return sorted(set(range(len(self.atomic_numbers))) - set(self.first.tolist()))


def build_graph(structure: Structure, cutoff: float) -> CrystalGraph:
    """Connect every atom with all atoms and images within the cut-off, itself excluded.

    Args:
        structure: A crystal.
        cutoff: Longest bond (Å).

    Returns:
        Its graph; every bond occurs in both directions.
    """
    first, second, _, distances = structure.get_neighbor_list(cutoff, exclude_self=True)
    return CrystalGraph(
        atomic_numbers=np.array(structure.atomic_numbers, dtype=np.int64),
        first=np.asarray(first, dtype=np.int64),
        second=np.asarray(second, dtype=np.int64),
        distances=np.asarray(distances, dtype=np.float32),
    )


@dataclass(frozen=True)
class GraphBatch:
    """B crystals as one disconnected graph.

    Attributes:
        atomic_numbers: (N,) of all atoms.
        first: (E,) atom a bond starts at, counted over the batch.
        second: (E,) atom it ends at.
        distances: (E,) in Å.
        atom_crystal: (N,) crystal of each atom.
        bond_crystal: (E,) crystal of each bond.
        size: B.
    """

    atomic_numbers: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor
    distances: torch.Tensor
    atom_crystal: torch.Tensor
    bond_crystal: torch.Tensor
    size: int


def batch_graphs(graphs: Sequence[CrystalGraph], device: str = "cpu") -> GraphBatch:
    """Put graphs side by side.

    Args:
        graphs: At least one graph.
        device: Where the tensors go.

    Returns:
        The batch, crystals in the order given.
    """
    atoms = np.array([len(graph.atomic_numbers) for graph in graphs])
    bonds = np.array([len(graph.distances) for graph in graphs])
    offsets = np.repeat(np.cumsum(atoms) - atoms, bonds)

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(values, device=device)

    return GraphBatch(
        atomic_numbers=tensor(np.concatenate([graph.atomic_numbers for graph in graphs])),
        first=tensor(np.concatenate([graph.first for graph in graphs]) + offsets),
        second=tensor(np.concatenate([graph.second for graph in graphs]) + offsets),
        distances=tensor(np.concatenate([graph.distances for graph in graphs])),
        atom_crystal=tensor(np.repeat(np.arange(len(graphs)), atoms)),
        bond_crystal=tensor(np.repeat(np.arange(len(graphs)), bonds)),
        size=len(graphs),
    )
