"""Shortest distances against brute force over images of a compact cell."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from agents.geometry import is_finite, shortest_distance, too_close


def brute_force_distance(cell: np.ndarray, cartesian: np.ndarray) -> float:
    """The shortest distance over 11^3 images of a compact cell."""
    images = np.array(list(itertools.product(range(-5, 6), repeat=3))) @ cell
    vectors = cartesian[:, None, None] - cartesian[None, :, None] + images
    distances = np.linalg.norm(vectors, axis=-1)
    return float(distances[distances > 1e-9].min())


@pytest.mark.parametrize("seed", range(20))
def test_shortest_distance_equals_brute_force_in_skewed_cells(seed: int) -> None:
    random = np.random.default_rng(seed)
    compact = np.diag(random.uniform(2.5, 6.0, 3)) + random.uniform(-0.8, 0.8, (3, 3))
    cartesian = random.uniform(-10, 10, (int(random.integers(1, 7)), 3))
    shear = np.eye(3, dtype=int)
    for _ in range(4):  # the same crystal in a cell as skewed as one likes
        i, j = random.permutation(3)[:2]
        shear[i] += int(random.integers(-3, 4)) * shear[j]
    skewed = Structure(
        Lattice(shear @ compact), ["Si"] * len(cartesian), cartesian, coords_are_cartesian=True
    )
    expected = brute_force_distance(compact, cartesian)
    assert shortest_distance(skewed) == pytest.approx(expected, abs=1e-8)


def test_shortest_distance_of_one_atom_is_the_distance_to_its_image() -> None:
    flat = Structure(Lattice([[3, 0, 0], [30.4, 1, 0], [0, 0, 9]]), ["Cu"], [[0, 0, 0]])
    assert shortest_distance(flat) == pytest.approx(np.hypot(0.4, 1.0))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("z", [np.nan, np.inf])
def test_coordinates_that_are_no_numbers_are_refused(z: float) -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        shortest_distance(Structure(Lattice.cubic(4), ["Si"], [[0, 0, z]]))


def test_flat_cell_is_refused() -> None:
    with pytest.raises(ValueError, match="no volume"):
        shortest_distance(
            Structure(Lattice([[3, 0, 0], [0, 3, 0], [3, 3, 0]]), ["Si"], [[0, 0, 0]])
        )


def test_a_cell_without_volume_is_not_finite_either() -> None:
    flat = Structure(Lattice([[3, 0, 0], [0, 3, 0], [3, 3, 0]]), ["Si"], [[0, 0, 0]])
    assert not is_finite(flat)
    assert is_finite(Structure(Lattice.cubic(3), ["Si"], [[0, 0, 0]]))


def test_the_limit_itself_is_allowed() -> None:
    assert [too_close(d, 0.5) for d in (0.4999, 0.5, 0.5001)] == [True, False, False]
