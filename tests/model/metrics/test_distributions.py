"""Properties of sets: pymatgen's densities, the earth mover's distance by sorting."""

from __future__ import annotations

import numpy as np
import pytest

from model.data.canonical import Crystal, structure_from_arrays
from model.generator import Generator
from model.metrics.distributions import (
    densities,
    earth_movers_distance,
    element_counts,
    property_distances,
)


def test_densities_are_those_of_pymatgen() -> None:
    rng = np.random.default_rng(0)
    crystals = [
        Crystal(rng.integers(1, 90, n), rng.random((n, 3)), np.array([5, 6, 7, 80, 95, 110.0]))
        for n in (1, 4, 9)
    ]
    built = [structure_from_arrays(c.numbers, c.frac, c.cell)[0] for c in crystals]
    assert densities(crystals) == pytest.approx([s.density for s in built if s], rel=1e-5)
    assert element_counts(crystals).tolist() == [len(set(c.numbers.tolist())) for c in crystals]


def test_earth_movers_distance_is_the_mean_gap_of_the_sorted_samples() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=300), rng.normal(1, 2, size=300)
    expected = np.abs(np.sort(one) - np.sort(other)).mean()
    assert earth_movers_distance(one, other) == pytest.approx(expected)
    assert earth_movers_distance(np.append(one, np.nan), other) == pytest.approx(expected)
    assert earth_movers_distance(np.array([np.nan]), other) is None


def test_a_set_is_at_no_distance_from_itself(headed: Generator) -> None:
    codes = [headed.bank.codes(i) for i in range(30)]
    crystals = headed.decode_crystals(codes)
    same = property_distances(headed, crystals, codes, crystals, codes)
    assert same["density"] == same["n_elements"] == same["energy"] == 0
    assert same["energy_target"] == headed.head.targets[0]
    apart = property_distances(headed, crystals[:10], codes[:10], crystals[10:], codes[10:])
    assert apart["energy"] > 0
    assert property_distances(headed, crystals, [], crystals, codes)["energy"] is None
