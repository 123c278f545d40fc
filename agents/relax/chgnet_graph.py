"""Crystal graphs of CHGNet for a whole batch, in flat arrays.

The graph is that of the `chgnet` package (Deng et al., doi 10.1038/s42256-023-00716-3): an atom
graph of all bonds below one cutoff and a bond graph of all angles between bonds below a shorter
one. The package builds it bond by bond in Python objects; here every step is an array operation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agents.relax.neighbours import bonds_within

if TYPE_CHECKING:
    from pymatgen.core import Structure


@dataclass(frozen=True)
class CrystalBonds:
    """The bonds of one crystal.

    Attributes:
        numbers: atomic numbers, shape (N,).
        first, second, vectors: see `agents.relax.neighbours.bonds_within`.
        short: the bonds of the bond graph, ascending, shape (S,).
        n_angles: ordered pairs of different short bonds at one atom.
    """

    numbers: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    vectors: NDArray[np.float64]
    short: NDArray[np.int64]
    n_angles: int

    @property
    def messages(self) -> int:
        """What the network works on, and so the unit of its time and memory."""
        return 2 * len(self.first) + self.n_angles


@dataclass(frozen=True)
class BatchGraph:
    """The bonds and angles of B crystals with N atoms together.

    Every bond is listed once; the network passes messages along it both ways. The two ends of short
    bond `s` of S are the half-bonds `s` (at its first atom) and `s + S` (at its second).

    Attributes:
        numbers: atomic numbers, shape (N,).
        owners: the crystal of each atom, shape (N,).
        n_crystals: B.
        first, second: the atoms of each bond, shape (U,).
        vectors: position of `first` minus that of `second` (a periodic image), Å, shape (U, 3).
        short: the bonds of the bond graph, ascending, shape (S,).
        angle_atoms: the atom at the tip of each angle, shape (A,).
        angle_ends: the two half-bonds of each angle, shape (2, A).
        angle_bonds: the same as positions in `short`, shape (2, A).
    """

    numbers: NDArray[np.int64]
    owners: NDArray[np.int64]
    n_crystals: int
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    vectors: NDArray[np.float64]
    short: NDArray[np.int64]
    angle_atoms: NDArray[np.int64]
    angle_ends: NDArray[np.int64]
    angle_bonds: NDArray[np.int64]


def crystal_bonds(structure: Structure, atom_cutoff: float, bond_cutoff: float) -> CrystalBonds:
    """List the bonds of an ordered crystal.

    Args:
        structure: an ordered crystal.
        atom_cutoff: longest bond of the atom graph, Å.
        bond_cutoff: longest bond of the bond graph, Å.

    Raises:
        ValueError: the cell is so thin that its neighbours cannot be listed.
    """
    numbers = np.array([site.specie.Z for site in structure], dtype=np.int64)
    first, second, vectors = bonds_within(
        structure.lattice.matrix, np.asarray(structure.frac_coords), atom_cutoff
    )
    short = np.flatnonzero((vectors * vectors).sum(1) < bond_cutoff**2)
    ends = np.bincount(np.concatenate([first[short], second[short]]), minlength=1)
    return CrystalBonds(numbers, first, second, vectors, short, int((ends * (ends - 1)).sum()))


def pack(crystals: Sequence[CrystalBonds], limit: int) -> Iterator[Sequence[CrystalBonds]]:
    """Cut a sequence into batches of at most `limit` messages, each of at least one crystal."""
    start, total = 0, 0
    for index, crystal in enumerate(crystals):
        total += crystal.messages
        if total > limit and index > start:
            yield crystals[start:index]
            start, total = index, crystal.messages
    if crystals:
        yield crystals[start:]


def batch_graph(crystals: Sequence[CrystalBonds]) -> BatchGraph:
    """Join the bonds of crystals into one graph and list its angles."""
    sizes = [len(c.numbers) for c in crystals]
    atoms_before = np.cumsum([0, *sizes])
    bonds_before = np.cumsum([0, *(len(c.first) for c in crystals)])
    first = np.concatenate([c.first + n for c, n in zip(crystals, atoms_before)])
    second = np.concatenate([c.second + n for c, n in zip(crystals, atoms_before)])
    short = np.concatenate([c.short + n for c, n in zip(crystals, bonds_before)])
    tips = np.concatenate([first[short], second[short]])
    ends = _angles(tips, int(atoms_before[-1]))
    return BatchGraph(
        numbers=np.concatenate([c.numbers for c in crystals]),
        owners=np.repeat(np.arange(len(crystals)), sizes),
        n_crystals=len(crystals),
        first=first,
        second=second,
        vectors=np.concatenate([c.vectors for c in crystals]),
        short=short,
        angle_atoms=tips[ends[0]],
        angle_ends=ends,
        angle_bonds=ends % max(len(short), 1),
    )


def _angles(tips: NDArray[np.int64], n_atoms: int) -> NDArray[np.int64]:
    """List all ordered pairs of different half-bonds at the same atom, shape (2, A).

    Args:
        tips: the atom of each half-bond.
        n_atoms: of the batch.
    """
    order = np.argsort(tips, kind="stable")
    counts = np.bincount(tips, minlength=n_atoms)
    starts = np.cumsum(counts) - counts
    partners = counts[tips[order]]  # each half-bond meets all of its atom's, itself included
    left = np.repeat(np.arange(len(order)), partners)
    within = np.arange(len(left)) - np.repeat(np.cumsum(partners) - partners, partners)
    right = starts[tips[order[left]]] + within
    different = left != right
    return np.stack([order[left[different]], order[right[different]]])
