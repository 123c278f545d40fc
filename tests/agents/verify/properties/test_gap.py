"""The gap against a brute-force search over all pairs of states."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from agents.verify.properties.gap import band_gap, check_occupations


def brute_force(eigenvalues: np.ndarray, electrons: int) -> float:
    """Smallest excitation of a spin-paired crystal, pair by pair."""
    occupied = electrons // 2
    points = range(eigenvalues.shape[1])
    return min(
        eigenvalues[0, k, c] - eigenvalues[0, q, v]
        for k, q in itertools.product(points, points)
        for v in range(occupied)
        for c in range(occupied, eigenvalues.shape[2])
    )


@pytest.mark.parametrize("seed", range(20))
def test_gap_is_the_smallest_excitation(seed: int) -> None:
    draw = np.random.default_rng(seed)
    eigenvalues = np.sort(draw.normal(size=(1, 5, 8)), axis=2)
    eigenvalues[:, :, 4:] += 3.0 * (seed % 2)  # every other one is an insulator
    expected = max(0.0, brute_force(eigenvalues, 8))
    assert band_gap(eigenvalues, 8.0, 0.0).gap == pytest.approx(expected)


def test_odd_number_of_electrons_is_a_metal() -> None:
    eigenvalues = np.array([[[-2.0, -1.0, 3.0]]])
    assert band_gap(eigenvalues, 3.0, -1.0).gap == 0


def test_direct_and_indirect_edges_are_told_apart() -> None:
    direct = np.array([[[0.0, 1.0], [-1.0, 2.0]]])
    indirect = np.array([[[0.0, 2.0], [-1.0, 1.0]]])
    assert band_gap(direct, 2.0, 0.5).direct
    assert not band_gap(indirect, 2.0, 0.5).direct
    assert band_gap(indirect, 2.0, 0.5).gap == pytest.approx(1.0)


def test_spin_channels_share_one_gap() -> None:
    eigenvalues = np.array([[[-3.0, -1.0, 4.0]], [[-2.0, 1.0, 5.0]]])
    found = band_gap(eigenvalues, 3.0, 0.0)
    assert found.gap == pytest.approx(2.0)  # from -1 (up) to 1 (down)
    half_metal = np.array([[[-3.0, -1.0, 4.0], [-3.0, -1.0, 4.0]], [[-2, 1, 5], [-2, -0.5, 5]]])
    assert band_gap(half_metal, 3.0, 0.0).gap == 0


def test_missing_empty_band_is_refused() -> None:
    with pytest.raises(ValueError, match="add bands"):
        band_gap(np.zeros((1, 2, 2)), 4.0, 0.0)


def fermi_dirac(eigenvalues: np.ndarray, level: float, width: float = 0.05) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp((eigenvalues - level) / width)))


def insulator() -> np.ndarray:
    return np.array([[[-3.0, -1.0, 0.5, 2.0], [-2.5, -0.5, 1.0, 2.5]]])


def test_occupations_agree_with_a_counted_gap() -> None:
    eigenvalues, weights = insulator(), np.array([0.25, 0.75])
    found = band_gap(eigenvalues, 4.0, 0.0)
    check = check_occupations(found, eigenvalues, fermi_dirac(eigenvalues, 0.0), weights, 4.0)
    assert check.consistent
    assert check.gap == pytest.approx(found.gap) == pytest.approx(1.0)
    assert check.electrons == pytest.approx(4.0, abs=1e-3)


@pytest.mark.parametrize(("electrons", "level"), [(4.0, 0.75), (2.0, 0.0), (4.0, -0.75)])
def test_occupations_betray_a_miscounted_gap(electrons: float, level: float) -> None:
    """A Fermi level inside a band, or bands counted for another number of electrons."""
    eigenvalues, weights = insulator(), np.array([0.25, 0.75])
    found = band_gap(eigenvalues, electrons, level)
    assert found.gap > 0
    occupations = fermi_dirac(eigenvalues, level)
    assert not check_occupations(found, eigenvalues, occupations, weights, electrons).consistent


def test_occupations_of_a_metal_hold_its_electrons() -> None:
    eigenvalues = np.array([[[-1.0, 0.3, 2.0], [-2.0, -0.3, 1.0]]])
    found = band_gap(eigenvalues, 3.0, 0.0)
    occupations = fermi_dirac(eigenvalues, 0.0)
    weights = np.array([0.5, 0.5])
    assert found.gap == 0
    assert check_occupations(found, eigenvalues, occupations, weights, 3.0).consistent
    assert not check_occupations(found, eigenvalues, occupations, weights, 4.0).consistent
