"""Repulsion of atoms that overlap, where interatomic potentials know nothing.

Decoded crystals have atoms far closer than any crystal a potential was trained on, and there its
energy often has holes: the atoms fall into each other and the relaxation is lost. A harmonic
repulsion between overlapping cores leads out. It vanishes wherever atoms keep their distance, so no
crystal that is accepted has felt it at its end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

from agents.relax.neighbours import bonds_within

#: Atoms overlap below this share of the sum of their covalent radii; N2's bond is at 0.77 of it.
OVERLAP = 0.65
#: eV/Å^2.
STIFFNESS = 50.0


@dataclass(frozen=True)
class Repulsion:
    """Energy (eV), forces (N, 3) (eV/Å) and stress (3, 3) (eV/Å^3) of overlapping atoms."""

    energy: float
    forces: NDArray[np.float64]
    stress: NDArray[np.float64]


def repulsion(
    numbers: NDArray[np.int64], cell: NDArray[np.float64], positions: NDArray[np.float64]
) -> Repulsion:
    """Return the repulsion of the atoms of a crystal.

    Args:
        numbers: atomic numbers, shape (N,).
        cell: lattice vectors as rows, Å.
        positions: Å, shape (N, 3).
    """
    radii = OVERLAP * covalent_radii[numbers]
    forces, stress = np.zeros((len(numbers), 3)), np.zeros((3, 3))
    first, second, vectors = bonds_within(
        cell, positions @ np.linalg.inv(cell), 2.0 * float(radii.max())
    )
    lengths = np.linalg.norm(vectors, axis=1)
    overlaps = np.maximum(radii[first] + radii[second] - lengths, 0.0)
    if not overlaps.any():
        return Repulsion(0.0, forces, stress)
    push = (STIFFNESS * overlaps / lengths)[:, None] * vectors  # on the first atom
    np.add.at(forces, first, push)
    np.add.at(forces, second, -push)
    stress = -(vectors.T @ push) / abs(np.linalg.det(cell))
    return Repulsion(float(0.5 * STIFFNESS * (overlaps**2).sum()), forces, stress)
