"""What a child is worth before its evaluation, from a surrogate's prediction."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Acquisition = Literal["probability", "improvement"]


def acquisition(
    mean: NDArray[np.float64], std: NDArray[np.float64], threshold: float, kind: Acquisition
) -> NDArray[np.float64]:
    """Return the worth (B,) of points whose value is predicted as normal; higher is better.

    Args:
        mean: (B,) predicted values, lower is better.
        std: (B,) their uncertainties.
        threshold: Value below which a point is a hit.
        kind: ``probability`` of a value below the threshold, or expected ``improvement`` over it
            (Jones, Schonlau and Welch 1998, doi 10.1023/A:1008306431147).
    """
    spread = np.maximum(std, 1e-9)
    z = (threshold - mean) / spread
    if kind == "probability":
        return ndtr(z)
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return (threshold - mean) * ndtr(z) + spread * density
