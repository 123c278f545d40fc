"""Positions and cell of a crystal as one vector that an unconstrained optimiser can move.

The coordinates are those of ASE's `FrechetCellFilter`: the positions in the undeformed cell and the
matrix logarithm of the deformation, times the number of atoms. Their gradient is exact; its
derivation is at https://github.com/lan496/lan496.github.io/blob/main/notes/cell_grad.pdf.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Terms of the exponential series: 0.25^13 / 13! is far below double precision.
_TAYLOR = 12


@dataclass(frozen=True)
class CellCoordinates:
    """The map between a crystal and its coordinate vector, shape (3 N + 9,) or (3 N,).

    Attributes:
        cell: lattice vectors of the undeformed crystal as rows, Å, shape (3, 3).
        numbers: atomic numbers, shape (N,).
        pressure: external pressure, eV/Å^3.
        relax_cell: whether the cell has coordinates at all.
        in_plane: whether only its strain in the xy plane moves, as in ASE's mask (1, 1, 0, 0, 0,
            1); c lies along z and stays, and so do its six coordinates, which keep their zeros.
    """

    cell: NDArray[np.float64]
    numbers: NDArray[np.int64]
    pressure: float
    relax_cell: bool
    in_plane: bool = False

    @property
    def n_atoms(self) -> int:
        """N."""
        return len(self.numbers)

    def start(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the coordinates of the undeformed crystal with atoms at `positions` (N, 3), Å."""
        cell = np.zeros(9 if self.relax_cell else 0)
        return np.concatenate([positions.ravel(), cell])

    def geometry(
        self, coordinates: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return cell (3, 3) and positions (N, 3) in Å."""
        positions = coordinates[: 3 * self.n_atoms].reshape(-1, 3)
        if not self.relax_cell:
            return self.cell, positions
        deformation = exponential(self._logarithm(coordinates))
        return self.cell @ deformation.T, positions @ deformation.T

    def enthalpy(self, energy: float, cell: NDArray[np.float64]) -> float:
        """Return what the gradient is the gradient of: E + p V, eV."""
        return energy + self.pressure * abs(float(np.linalg.det(cell)))

    def gradient(
        self,
        coordinates: NDArray[np.float64],
        forces: NDArray[np.float64],
        stress: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return the derivative of the enthalpy by the coordinates.

        Args:
            coordinates: where.
            forces: on the atoms there, eV/Å, shape (N, 3).
            stress: of the cell there, eV/Å^3, shape (3, 3).
        """
        if not self.relax_cell:
            return -forces.ravel()
        logarithm = self._logarithm(coordinates)
        deformation = exponential(logarithm)
        volume = abs(float(np.linalg.det(self.cell @ deformation.T)))
        virial = volume * (stress + self.pressure * np.eye(3))  # dH/d(strain)
        by_deformation: NDArray[np.float64] = virial @ np.linalg.inv(deformation).T
        # the adjoint of the derivative of exp at X is the derivative of exp at X transposed
        by_logarithm = exponential_derivative(logarithm.T, by_deformation)
        return np.concatenate(
            [-(forces @ deformation).ravel(), (self.free * by_logarithm).ravel() / self.n_atoms]
        )

    @property
    def free(self) -> NDArray[np.float64]:
        """One for each component of the deformation that moves, else zero; shape (3, 3)."""
        free = np.ones((3, 3))
        if self.in_plane:
            free[2, :] = free[:, 2] = 0.0
        return free

    def _logarithm(self, coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
        return coordinates[3 * self.n_atoms :].reshape(3, 3) / self.n_atoms


def exponential(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the exponential of a small matrix, by scaling, Taylor series and squaring.

    SciPy's costs milliseconds where its BLAS starts threads, and workers are many.
    """
    norm = float(np.abs(matrix).sum())
    squarings = max(0, int(np.ceil(np.log2(norm / 0.25)))) if norm > 0.25 else 0
    scaled = matrix / 2**squarings
    result = term = np.eye(len(matrix))
    for order in range(1, _TAYLOR + 1):
        term = term @ scaled / order
        result = result + term
    for _ in range(squarings):
        result = result @ result
    return result


def exponential_derivative(
    matrix: NDArray[np.float64], direction: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the derivative of the exponential at a matrix along a direction.

    It is a block of the exponential of [[X, E], [0, X]] (Najfeld and Havel,
    doi 10.1006/aama.1995.1017).
    """
    size = len(matrix)
    scale = max(float(np.abs(direction).sum()), 1e-30)  # linear in E: keep the norm of the block
    block = np.block([[matrix, direction / scale], [np.zeros_like(matrix), matrix]])
    return exponential(block)[:size, size:] * scale
