"""Crystals as graphs for ALIGNN: atoms, bonds, and the angles between bonds that share an atom.

The same graph as ``alignn.torch_graph_builder.build_pure_torch_graph`` without a limit on the
number of neighbours: bonds to everything within one radius, angles between bonds shorter than
another. A limit (the 12 nearest, say) would be cheaper and is not used: where several neighbours
are equally far, as in most crystals, it keeps some of them by the order of the atoms in the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from pymatgen.core import Structure


@dataclass(frozen=True)
class BondGraph:
    """One crystal as arrays; its angles follow from the bonds and are made when they are needed.

    Attributes:
        atomic_numbers: (N,) uint8.
        first: (E,) int16, index of the atom a bond starts at; not decreasing.
        second: (E,) int16, index of the atom it ends at, in whatever periodic image.
        vectors: (E, 3) float32, from the first atom to the second one (Å).
    """

    atomic_numbers: np.ndarray
    first: np.ndarray
    second: np.ndarray
    vectors: np.ndarray

    @property
    def isolated(self) -> list[int]:
        """Atoms without a bond."""
        return sorted(set(range(len(self.atomic_numbers))) - set(self.first.tolist()))

    def angles(self, cutoff: float) -> int:
        """Count the angles between bonds not longer than a radius (Å)."""
        short = np.square(self.vectors).sum(axis=1) <= cutoff**2
        leaving = np.bincount(self.first[short], minlength=len(self.atomic_numbers))
        return int(leaving[self.second[short]].sum())


def build_graph(structure: Structure, cutoff: float) -> BondGraph:
    """Connect every atom with all atoms and images within the cut-off, itself excluded.

    Args:
        structure: A crystal of at most 32,767 atoms.
        cutoff: Longest bond (Å).

    Returns:
        Its graph; every bond occurs in both directions.
    """
    first, second, images, _ = structure.get_neighbor_list(cutoff, exclude_self=True)
    order = np.argsort(first, kind="stable")
    first, second, images = first[order], second[order], images[order]
    positions = structure.cart_coords
    vectors = positions[second] - positions[first] + images @ structure.lattice.matrix
    return BondGraph(
        atomic_numbers=np.array(structure.atomic_numbers, dtype=np.uint8),
        first=first.astype(np.int16),
        second=second.astype(np.int16),
        vectors=vectors.astype(np.float32).reshape(-1, 3),
    )


@dataclass(frozen=True)
class BondBatch:
    """B crystals as one disconnected graph with its line graph.

    Attributes:
        atomic_numbers: (N,) of all atoms.
        first: (E,) atom a bond starts at, counted over the batch; not decreasing.
        second: (E,) atom it ends at.
        vectors: (E, 3) in Å.
        incoming: (T,) the bond of an angle that ends at the shared atom.
        outgoing: (T,) the bond that starts there.
        crystal: (N,) crystal of each atom.
        atoms: (B,) atoms of each crystal.
    """

    atomic_numbers: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor
    vectors: torch.Tensor
    incoming: torch.Tensor
    outgoing: torch.Tensor
    crystal: torch.Tensor
    atoms: torch.Tensor

    def tensors(self) -> tuple[Any, ...]:
        """Return the arguments of `ALIGNNNetwork.core_output`."""
        return (
            self.atomic_numbers,
            self.vectors,
            self.first,
            self.second,
            self.incoming,
            self.outgoing,
            self.crystal,
            len(self.atoms),
        )


def batch_graphs(
    graphs: Sequence[BondGraph], angle_cutoff: float, device: str = "cpu"
) -> BondBatch:
    """Put graphs side by side and find their angles.

    Args:
        graphs: At least one graph.
        angle_cutoff: Longest bond that takes part in an angle (Å).
        device: Where the tensors go.

    Returns:
        The batch, crystals in the order given.
    """
    atoms = np.array([len(graph.atomic_numbers) for graph in graphs])
    bonds = np.array([len(graph.first) for graph in graphs])
    offsets = np.repeat(np.cumsum(atoms) - atoms, bonds)
    first = np.concatenate([graph.first for graph in graphs]) + offsets
    second = np.concatenate([graph.second for graph in graphs]) + offsets
    vectors = np.concatenate([graph.vectors for graph in graphs])
    incoming, outgoing = _angles(first, second, vectors, int(atoms.sum()), angle_cutoff)

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(values, device=device)

    numbers = np.concatenate([graph.atomic_numbers for graph in graphs])
    return BondBatch(
        atomic_numbers=tensor(numbers.astype(np.int64)),
        first=tensor(first),
        second=tensor(second),
        vectors=tensor(vectors),
        incoming=tensor(incoming),
        outgoing=tensor(outgoing),
        crystal=tensor(np.repeat(np.arange(len(graphs)), atoms)),
        atoms=tensor(atoms),
    )


def _angles(
    first: np.ndarray, second: np.ndarray, vectors: np.ndarray, atoms: int, cutoff: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pair every short bond u → v with every short bond v → w, the way back included."""
    short = np.flatnonzero(np.square(vectors).sum(axis=1) <= cutoff**2)
    leaving = np.bincount(first[short], minlength=atoms)
    begin = np.cumsum(leaving) - leaving  # bonds are in the order of their first atom
    shared = second[short]
    counts = leaving[shared]
    incoming = np.repeat(short, counts)
    rank = np.arange(len(incoming)) - np.repeat(np.cumsum(counts) - counts, counts)
    outgoing = short[np.repeat(begin[shared], counts) + rank]
    return incoming, outgoing
