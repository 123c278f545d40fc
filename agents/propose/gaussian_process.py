"""A Gaussian process over blocks of features, exact for few labels and sparse for many.

Source: Rasmussen & Williams, Gaussian Processes for Machine Learning (2006), isbn 026218253X:
algorithm 2.1, eq. 5.9 for the gradient, section 8.3.4 for the sparse form (projected process).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize

Array = NDArray[np.float64]

EXACT = 1500  # labels up to which nothing is approximated
_INDUCING = 768  # training points that stand for all beyond that
_TUNED_ON = 192  # labels that the kernel's parameters are chosen with
_ITERATIONS = 30
_SMALLEST_NOISE = 1e-3  # variance, in units of the labels' own
_JITTER = 1e-6  # of the function's variance, on the diagonal of the inducing points
_PRIOR_WIDTH = 1.5  # of the logarithms of all parameters
_DECIMALS = 2  # of the logarithms: rounding errors of another machine do not survive


class NotPositiveDefinite(ArithmeticError):
    """A covariance matrix could not be factorised: a feature or a label is no number."""


@dataclass(frozen=True)
class Kernel:
    """k(x, x') = sum over blocks b of amplitude_b * matern_5/2(|x_b - x'_b| / length_b).

    Attributes:
        amplitudes: (G,) variances.
        lengths: (G,) in units of the root mean square difference of a block's columns.
        noise: variance of a label around the function.
    """

    amplitudes: Array
    lengths: Array
    noise: float

    def __call__(self, squared: Sequence[Array]) -> Array:
        """Return the covariances of points with mean squared differences (A, B) in each block."""
        total = np.zeros_like(squared[0])
        for amplitude, length, d2 in zip(self.amplitudes, self.lengths, squared, strict=True):
            r = np.sqrt(5.0 * d2) / length
            total += amplitude * (1.0 + r + r * r / 3.0) * np.exp(-r)
        return total

    @property
    def variance(self) -> float:
        """Variance of the function anywhere, before any label."""
        return float(self.amplitudes.sum())


class GaussianProcess:
    """Regression of one number on blocks of features, with an uncertainty.

    The kernel's parameters maximise the marginal likelihood of at most 192 of the labels times a
    broad prior (a short descent with exact gradients). Up to `EXACT` labels all are used as they
    are; beyond, the posterior is projected on a random part of them, so that time grows linearly.

    Attributes:
        kernel: as fitted; labels are standardised before.
    """

    def __init__(
        self, blocks: Sequence[slice], rng: np.random.Generator, *, exact: int = EXACT
    ) -> None:
        """Create an unfitted process.

        Args:
            blocks: columns that share a length.
            rng: chooses the labels for the parameters and for the projection.
            exact: largest number of labels without approximation.
        """
        self._blocks = list(blocks)
        self._rng = rng
        self._exact = exact
        self.kernel: Kernel | None = None

    def fit(self, x: NDArray[np.floating], y: Array) -> None:
        """Learn from labels.

        Args:
            x: (n, F) features, n >= 2.
            y: (n,) labels, finite.

        Raises:
            NotPositiveDefinite: if the features are not finite.
        """
        self._mean = float(y.mean())
        self._scale = max(float(y.std()), 1e-6)
        t = (y - self._mean) / self._scale
        points: Array = np.asarray(x, dtype=np.float64)
        tuned = np.sort(self._rng.permutation(len(y))[:_TUNED_ON])
        self.kernel = _tuned(self._squared(points[tuned], points[tuned]), t[tuned])
        if len(y) <= self._exact:
            self._points = points
            covariance = self.kernel(self._squared(points, points))
            covariance[np.diag_indices_from(covariance)] += self.kernel.noise
            self._factor = _factorised(covariance)
            self._weights = cho_solve((self._factor, True), t)
            self._sparse_factor: Array | None = None
            return
        chosen = np.sort(self._rng.permutation(len(y))[:_INDUCING])
        self._points = points[chosen]
        among = self.kernel(self._squared(self._points, self._points))
        among[np.diag_indices_from(among)] += _JITTER * self.kernel.variance
        self._factor = _factorised(among)
        # In the basis of the factor, where the sum below is well conditioned.
        precision, right = self.kernel.noise * np.eye(len(chosen)), np.zeros(len(chosen))
        for start in range(0, len(y), _INDUCING):
            part = slice(start, start + _INDUCING)
            across = self.kernel(self._squared(self._points, points[part]))
            basis = solve_triangular(self._factor, across, lower=True)
            precision += basis @ basis.T
            right += basis @ t[part]
        self._sparse_factor = _factorised(precision)
        inner = cho_solve((self._sparse_factor, True), right)
        self._weights = solve_triangular(self._factor, inner, lower=True, trans="T")

    def predict(self, x: NDArray[np.floating]) -> tuple[Array, Array]:
        """Return means and standard deviations (B,) of new labels at features (B, F).

        Raises:
            ValueError: before `fit`.
        """
        if self.kernel is None:
            raise ValueError("the Gaussian process was not fitted: it has no labels")
        points: Array = np.asarray(x, dtype=np.float64)
        across = self.kernel(self._squared(self._points, points))
        mean = across.T @ self._weights
        basis = solve_triangular(self._factor, across, lower=True)
        variance = self.kernel.variance - (basis**2).sum(0)
        if self._sparse_factor is not None:
            rest = solve_triangular(self._sparse_factor, basis, lower=True)
            variance += self.kernel.noise * (rest**2).sum(0)
        variance = np.maximum(variance, 0.0) + self.kernel.noise
        return mean * self._scale + self._mean, np.sqrt(variance) * self._scale

    def _squared(self, a: Array, b: Array) -> list[Array]:
        """Return the mean squared differences (A, B) of the columns of every block."""
        result = []
        for block in self._blocks:
            p, q = a[:, block], b[:, block]
            d2 = (p * p).sum(1)[:, None] + (q * q).sum(1)[None] - 2.0 * (p @ q.T)
            result.append(np.maximum(d2, 0.0) / p.shape[1])
        return result


def _tuned(squared: Sequence[Array], t: Array) -> Kernel:
    """Return the most probable kernel for standardised labels (n,)."""
    count = len(squared)
    start = np.concatenate([np.full(count, -np.log(count)), np.zeros(count), [np.log(0.1)]])
    bounds = [(-7.0, 4.0)] * count + [(-4.0, 5.0)] * count + [(np.log(_SMALLEST_NOISE), 1.0)]
    pairs = np.tril_indices(len(t), -1)
    found = minimize(
        _negative_log_posterior,
        start,
        args=(np.sqrt(5.0 * np.stack([d2[pairs] for d2 in squared])), pairs, t, start),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": _ITERATIONS},
    )
    return _kernel(np.round(found.x, _DECIMALS))


def _kernel(parameters: Array) -> Kernel:
    count = len(parameters) // 2
    values = np.exp(parameters)
    return Kernel(values[:count], values[count : 2 * count], float(values[-1]))


def _negative_log_posterior(
    parameters: Array, distances: Array, pairs: tuple[Array, Array], t: Array, centre: Array
) -> tuple[float, Array]:
    """Return the value and its gradient in the logarithms of amplitudes, lengths and noise.

    Args:
        parameters: (2 G + 1,) the logarithms.
        distances: (G, P) of every pair of labels in each block, times the root of 5.
        pairs: rows and columns (P,) of the pairs below the diagonal.
        t: (n,) standardised labels.
        centre: (2 G + 1,) mean of the prior.
    """
    kernel = _kernel(parameters)
    r = distances / kernel.lengths[:, None]
    decay = kernel.amplitudes[:, None] * np.exp(-r)
    slopes = r * r
    parts = decay * (1.0 + r + slopes / 3.0)
    slopes *= decay * (1.0 + r) / 3.0
    covariance = np.zeros((len(t), len(t)))
    covariance[pairs] = parts.sum(0)
    covariance[np.diag_indices_from(covariance)] = kernel.variance + kernel.noise
    factor = _factorised(covariance)
    weights = cho_solve((factor, True), t)
    offset = (parameters - centre) / _PRIOR_WIDTH
    value = 0.5 * t @ weights + np.log(np.diag(factor)).sum() + 0.5 * offset @ offset
    inverse, _ = dpotri(factor, lower=1)  # its lower triangle
    inner = inverse[pairs] - weights[pairs[0]] * weights[pairs[1]]
    trace = np.trace(inverse) - weights @ weights
    gradient = np.empty_like(parameters)
    count = len(distances)
    gradient[:count] = parts @ inner + 0.5 * trace * kernel.amplitudes
    gradient[count:-1] = slopes @ inner
    gradient[-1] = 0.5 * trace * kernel.noise
    return float(value), gradient + offset / _PRIOR_WIDTH


def _factorised(matrix: Array) -> Array:
    """Return the lower Cholesky factor."""
    try:
        return np.asarray(cholesky(matrix, lower=True))
    except (np.linalg.LinAlgError, ValueError) as error:
        raise NotPositiveDefinite(f"covariance of {len(matrix)} points: {error}") from error
