"""Cells and distances against pymatgen, ASE and the definition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from ase.geometry import get_distances, minkowski_reduce
from numpy.typing import NDArray
from pymatgen.core import Lattice, Structure

from model.data.canonical import Crystal, canonical
from model.data.geometry import cell_matrix, minimum_image_distances, reduce_cells
from model.data.tensors import CrystalTensors

_SKEWED = [
    [3.0, 3.0, 3.0, 90.0, 90.0, 90.0],
    [3.0, 3.0, 3.0, 60.0, 60.0, 60.0],
    [2.4, 6.8, 7.1, 115.7, 97.0, 119.4],  # a carbon: 27 images of this basis miss by 0.13 Å
    [9.5, 9.5, 9.5, 17.0, 17.0, 17.0],  # CdCl2-like rhombohedral
    [3.0, 4.0, 30.0, 20.0, 25.0, 40.0],
    [3.0, 30.0, 30.0, 12.0, 88.0, 92.0],
    [2.5, 2.5, 40.0, 90.0, 90.0, 120.0],
    [5.0, 5.0, 5.0, 119.0, 119.0, 119.0],
]


def _matrix(cell: list[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(cell_matrix(torch.tensor(cell, dtype=torch.float64)[None])[0])


def _distances(frac: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return minimum_image_distances(torch.tensor(frac)[None], torch.tensor(matrix)[None])[0].numpy()


def _random_cells(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return bases of random lattices, skewed by random integer changes of basis."""
    matrices = rng.normal(size=(count, 3, 3)) + np.eye(3) * rng.uniform(1, 6, (count, 1, 3))
    for _ in range(4):
        shear = np.eye(3)
        i, j = rng.choice(3, 2, replace=False)
        shear[i, j] = rng.integers(-3, 4)
        matrices = shear @ matrices
    return matrices


@pytest.mark.parametrize("cell", _SKEWED)
def test_cell_matrix_has_the_cells_lengths_and_angles(cell: list[float]) -> None:
    np.testing.assert_allclose(Lattice(_matrix(cell)).parameters, cell, atol=1e-9)


@pytest.mark.parametrize("cell", _SKEWED)
def test_distances_equal_pymatgen_and_ase(cell: list[float]) -> None:
    frac = np.random.default_rng(3).random((8, 3)) * 4 - 2
    matrix = _matrix(cell)
    distances = _distances(frac, matrix)
    other = ~np.eye(8, dtype=bool)
    structure = Structure(Lattice(matrix), ["C"] * 8, frac)
    np.testing.assert_allclose(distances[other], structure.distance_matrix[other], atol=1e-9)
    _, by_ase = get_distances(frac @ matrix, cell=matrix, pbc=True)
    np.testing.assert_allclose(distances[other], by_ase[other], atol=1e-9)


def test_distances_of_strongly_skewed_cells_equal_brute_force() -> None:
    rng = np.random.default_rng(0)
    matrices = _random_cells(rng, 20)
    frac = rng.random((20, 3, 3))
    found = minimum_image_distances(torch.tensor(frac), torch.tensor(matrices)).numpy()
    for matrix, positions, distances in zip(matrices, frac, found):
        # A point with a coordinate beyond distance / (spacing of planes) is farther than that.
        spacings = 1 / np.linalg.norm(np.linalg.inv(matrix), axis=0)
        ranges = [np.arange(-k, k + 1) for k in np.ceil(distances.max() / spacings) + 1]
        shifts = np.stack(np.meshgrid(*ranges), -1).reshape(-1, 3)
        for i, j in itertools.combinations_with_replacement(range(3), 2):
            lengths = np.linalg.norm((positions[j] - positions[i] + shifts) @ matrix, axis=1)
            nearest = lengths[lengths > 0].min() if i == j else lengths.min()
            assert distances[i, j] == pytest.approx(nearest, abs=1e-9)
            assert distances[j, i] == distances[i, j]


def test_distances_do_not_depend_on_the_basis_of_the_lattice() -> None:
    rng = np.random.default_rng(1)
    matrix = np.eye(3) * [3.0, 4.0, 5.0] + rng.normal(0, 0.3, (3, 3))
    frac = rng.random((6, 3))
    change = np.array([[1, 4, 0], [0, 1, 0], [-3, 2, 1]])  # determinant 1
    same = _distances(frac @ np.linalg.inv(change), change @ matrix)
    np.testing.assert_allclose(same, _distances(frac, matrix), atol=1e-9)


def test_reduced_bases_are_as_short_as_ases_and_span_the_same_lattice() -> None:
    matrices = _random_cells(np.random.default_rng(2), 100)
    reduced, transform = (x.numpy() for x in reduce_cells(torch.tensor(matrices)))
    np.testing.assert_array_equal(transform, np.rint(transform))
    np.testing.assert_allclose(np.abs(np.linalg.det(transform)), 1)
    np.testing.assert_allclose(transform @ matrices, reduced, atol=1e-9)
    for matrix, own in zip(matrices, reduced):
        lengths = np.linalg.norm(minkowski_reduce(matrix)[0], axis=1)
        np.testing.assert_allclose(
            np.sort(np.linalg.norm(own, axis=1)), np.sort(lengths), rtol=1e-6
        )


def test_a_reduced_basis_stays_as_it_is() -> None:
    matrix = torch.tensor(_matrix([3.0, 3.0, 12.0, 90.0, 90.0, 120.0]))[None]
    reduced, transform = reduce_cells(matrix)
    assert torch.equal(reduced, matrix)
    assert torch.equal(transform[0], torch.eye(3, dtype=matrix.dtype))


def test_padded_tensors_hold_each_crystals_own_distances() -> None:
    rng = np.random.default_rng(5)
    crystals = [
        canonical(Crystal(np.full(n, 6), rng.random((n, 3)), np.array([4.0, 5, 6, 80, 95, 60])))
        for n in (3, 7, 1, 5)
    ]
    tensors = CrystalTensors.from_canonical(crystals)
    assert tensors.distances.shape == (4, 7, 7)
    for crystal, distances, mask in zip(crystals, tensors.distances.numpy(), tensors.mask.numpy()):
        n = len(crystal.numbers)
        expected = _distances(crystal.frac, _matrix(crystal.cell))
        np.testing.assert_allclose(distances[:n, :n], expected, atol=1e-5)
        assert not distances[~mask].any()
        assert not distances[:, ~mask].any()
