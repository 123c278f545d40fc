"""The Gaussian process against plain linear algebra, finite differences and known noise."""

from __future__ import annotations

import numpy as np
import pytest

from agents.propose import gaussian_process
from agents.propose.gaussian_process import GaussianProcess, Kernel, NotPositiveDefinite

BLOCKS = [slice(0, 3), slice(3, 4)]


def truth(x):
    return np.sin(2 * x[:, 0]) + x[:, 1] * np.cos(x[:, 2]) + 0.5 * x[:, 3] ** 2


def sample(n, seed, noise=0.1):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    return x, truth(x) + noise * rng.normal(size=n)


def fitted(x, y, **options):
    process = GaussianProcess(BLOCKS, np.random.default_rng(0), **options)
    process.fit(x, y)
    return process


def covariance(kernel, a, b):
    """Matern 5/2 as in the textbook (eq. 4.17), pair by pair."""
    total = np.zeros((len(a), len(b)))
    for amplitude, length, block in zip(kernel.amplitudes, kernel.lengths, BLOCKS, strict=True):
        for i, p in enumerate(a):
            for j, q in enumerate(b):
                r = np.sqrt(np.mean((p[block] - q[block]) ** 2)) / length
                s = np.sqrt(5) * r
                total[i, j] += amplitude * (1 + s + s**2 / 3) * np.exp(-s)
    return total


def test_prediction_is_the_conditional_normal_distribution():
    x, y = sample(40, 0)
    new, _ = sample(15, 1)
    process = fitted(x, y)
    kernel, scale = process.kernel, y.std()
    noisy = covariance(kernel, x, x) + kernel.noise * np.eye(len(x))
    across = covariance(kernel, x, new)
    mean = y.mean() + across.T @ np.linalg.solve(noisy, y - y.mean())
    spread = covariance(kernel, new, new) - across.T @ np.linalg.solve(noisy, across)
    found, std = process.predict(new)
    np.testing.assert_allclose(found, mean, atol=1e-8)
    np.testing.assert_allclose(std, scale * np.sqrt(np.diag(spread) + kernel.noise), rtol=1e-6)


def test_the_gradient_is_that_of_finite_differences():
    x, y = sample(30, 2)
    squared = GaussianProcess(BLOCKS, np.random.default_rng(0))._squared(x, x)
    pairs = np.tril_indices(len(x), -1)
    distances = np.sqrt(5.0 * np.stack([d2[pairs] for d2 in squared]))
    t = (y - y.mean()) / y.std()
    centre = np.zeros(5)

    def value(p):
        return gaussian_process._negative_log_posterior(p, distances, pairs, t, centre)[0]

    at = np.array([-0.3, 0.4, 0.2, -0.1, -1.5])
    _, gradient = gaussian_process._negative_log_posterior(at, distances, pairs, t, centre)
    steps = 1e-5 * np.eye(5)
    numeric = [(value(at + step) - value(at - step)) / 2e-5 for step in steps]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-6)


def test_it_learns_and_knows_how_well():
    x, y = sample(300, 3, noise=0.2)
    new, labels = sample(400, 4, noise=0.2)
    mean, std = fitted(x, y).predict(new)
    assert np.sqrt(np.mean((mean - truth(new)) ** 2)) < 0.25 * truth(new).std()
    away = np.abs(labels - mean) / std
    assert 0.70 < np.mean(away < 1.2816) < 0.90
    assert std.min() > 0.15  # never below the noise that is there
    far = fitted(x, y).predict(new + 30)[1]
    assert far.min() > 2 * np.median(std)


def test_the_projection_on_all_points_is_exact(monkeypatch):
    x, y = sample(120, 5)
    new, _ = sample(30, 6)
    exact = fitted(x, y).predict(new)
    monkeypatch.setattr(gaussian_process, "_INDUCING", 120)
    sparse = fitted(x, y, exact=100).predict(new)
    np.testing.assert_allclose(sparse[0], exact[0], atol=1e-3)
    np.testing.assert_allclose(sparse[1], exact[1], rtol=1e-3)


def test_few_points_stand_for_many(monkeypatch):
    x, y = sample(1200, 7)
    new, _ = sample(300, 8)
    monkeypatch.setattr(gaussian_process, "_INDUCING", 200)
    few = fitted(x[:60], y[:60]).predict(new)[0]
    mean, std = fitted(x, y, exact=300).predict(new)
    error = np.abs(mean - truth(new))
    assert error.mean() < np.abs(few - truth(new)).mean()
    assert np.mean(error < 1.96 * std) > 0.9


def test_equal_seeds_give_equal_numbers():
    x, y = sample(500, 9)
    one, two = (fitted(x, y).predict(x[:20]) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_what_is_no_number_is_refused():
    x, y = sample(20, 10)
    x[3, 1] = np.nan
    with pytest.raises(NotPositiveDefinite, match="covariance of 20 points"):
        fitted(x, y)
    with pytest.raises(ValueError, match="not fitted"):
        GaussianProcess(BLOCKS, np.random.default_rng(0)).predict(x)


def test_equal_labels_are_predicted_as_they_are():
    x, _ = sample(30, 11)
    mean, std = fitted(x, np.full(30, -1.5)).predict(x)
    np.testing.assert_allclose(mean, -1.5, atol=1e-6)
    assert std.max() < 1e-3
    assert Kernel(np.ones(2), np.ones(2), 0.1).variance == 2.0
