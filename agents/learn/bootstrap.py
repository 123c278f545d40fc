"""Bootstrap intervals of mean errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Interval:
    """A mean with its bootstrap interval.

    Attributes:
        mean: Mean over the sample.
        low: Lower end of the percentile interval.
        high: Upper end.
        n: Size of the sample.
    """

    mean: float
    low: float
    high: float
    n: int

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "n": self.n}


def bootstrap_mean(
    values: NDArray[np.float64], *, samples: int, confidence: float, seed: int
) -> Interval:
    """Return the mean of a sample with its percentile bootstrap interval.

    For a paired comparison give the differences: resampling them resamples the pairs.

    Args:
        values: (n,), at least one.
        samples: Number of resamples.
        confidence: Coverage, for instance 0.95.
        seed: Source of the resamples.

    Raises:
        ValueError: The sample is empty.
    """
    if not len(values):
        raise ValueError("the bootstrap needs at least one value")
    rng = np.random.default_rng(seed)
    tail = (1 - confidence) / 2
    means = np.array(
        [values[rng.integers(0, len(values), len(values))].mean() for _ in range(samples)]
    )
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(values.mean()), float(low), float(high), len(values))
