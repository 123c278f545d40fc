"""Coverage and distances of sets: hand-computed cases, known Gaussians, scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from model.metrics.coverage import (
    CUTOFFS,
    coverage,
    frechet_distance,
    set_distances,
    standardised,
)
from model.metrics.fingerprints import N_COMPOSITION, N_STRUCTURE, Fingerprint


def test_coverage_of_two_by_two_crystals_by_hand() -> None:
    # Structure distances: generated 0 is 0.1 from test 0 and 0.9 from test 1; generated 1 is 1.0
    # from test 0 and 2.0 from test 1. Composition distances: 3 and 1; 5 and 7.
    generated = (np.array([[0.1], [-1.0]]), np.array([[3.0], [-5.0]]))
    truth = (np.array([[0.0], [1.0]]), np.array([[0.0], [2.0]]))
    result = coverage(generated, truth, n_generated=4, cutoffs=(0.2, 4.0))
    assert result["cov_recall"] == 0.5  # test 1 has no structure within 0.2
    assert result["cov_precision"] == 0.25  # one of four, two of which have no fingerprint
    assert result["amsd_recall"] == pytest.approx((0.1 + 0.9) / 2)
    assert result["amsd_precision"] == pytest.approx((0.1 + 1.0) / 2)
    assert result["amcd_recall"] == pytest.approx((3 + 1) / 2)
    assert result["amcd_precision"] == pytest.approx((1 + 5) / 2)


def test_structure_and_composition_may_be_covered_by_different_crystals() -> None:
    generated = (np.array([[0.0], [9.0]]), np.array([[9.0], [0.0]]))
    truth = (np.array([[0.0]]), np.array([[0.0]]))
    assert coverage(generated, truth, n_generated=2, cutoffs=(0.2, 4))["cov_recall"] == 1.0


def test_a_set_covers_itself() -> None:
    rng = np.random.default_rng(0)
    own = (rng.normal(size=(40, 3)), rng.normal(size=(40, 2)))
    result = coverage(own, own, n_generated=40, cutoffs=(1e-9, 1e-9))
    assert result["cov_recall"] == result["cov_precision"] == 1.0
    with pytest.raises(ValueError, match="both sides"):
        coverage((own[0][:0], own[1][:0]), own, n_generated=3, cutoffs=(1, 1))


def test_frechet_distance_of_known_gaussians() -> None:
    rng = np.random.default_rng(1)
    narrow, wide = rng.normal(0, 1, (200_000, 1)), rng.normal(3, 2, (200_000, 1))
    # (mean difference)^2 + (difference of the deviations)^2
    assert frechet_distance(narrow, wide) == pytest.approx(9 + 1, rel=0.02)


def test_frechet_distance_is_the_formula_with_a_matrix_root() -> None:
    rng = np.random.default_rng(2)
    one = rng.normal(size=(50, 4)) @ rng.normal(size=(4, 4))
    other = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 4)) + 1
    first, second = np.cov(one.T), np.cov(other.T)
    mean = one.mean(0) - other.mean(0)
    expected = mean @ mean + np.trace(first + second - 2 * np.real(sqrtm(first @ second)))
    assert frechet_distance(one, other) == pytest.approx(expected)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-8)


def test_compositions_are_standardised_and_gaps_filled_with_the_mean() -> None:
    values = np.zeros((1, N_COMPOSITION))
    values[0, 3] = np.nan
    result = standardised(values)
    assert result[0, 3] == 0
    assert (result[0, :3] < -0.5).all()  # mean atomic numbers are far above zero


def test_failed_fingerprints_count_against_precision() -> None:
    rng = np.random.default_rng(3)
    good = [Fingerprint(rng.random(N_STRUCTURE), rng.random(N_COMPOSITION)) for _ in range(3)]
    result = set_distances([*good, Fingerprint(None, None, "no")], good, dataset="mp20")
    assert result["cov_recall"] == 1.0
    assert result["cov_precision"] == 0.75
    assert result["n_without_fingerprint"] == 1
    assert result["average_min_distance"] == result["amsd_precision"] == 0
    assert (result["cutoff_structure"], result["cutoff_composition"]) == CUTOFFS["mp20"]
