"""Which base crystal the next episode starts from: a bandit with as many arms as crystals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Arm:
    """What a base crystal gave in one episode.

    Attributes:
        base_id: The base crystal.
        hits: Formulas with a fitness below the threshold that were new to the campaign.
        evaluations: Candidates asked for.
    """

    base_id: str
    hits: int
    evaluations: int


def thompson(arms: Sequence[Arm], rng: np.random.Generator, *, discount: float = 0.5) -> str | None:
    """Decide whether to return to a base crystal or to take a new one, by Thompson sampling.

    Hits per evaluation of a base are drawn from its Beta posterior; those of a base nobody tried
    are drawn from the Beta distribution that fits the bases tried so far (by moments), which is
    also every base's prior. The largest draw wins. A base that is used up gives fewer *new*
    formulas when it is visited again; older visits count less, so it is left.

    Args:
        arms: Episodes so far, in order; a base visited again has several.
        rng: Source of the draws.
        discount: Weight of a visit to a base relative to the next visit to it.

    Returns:
        The base to return to, or None for a new one.
    """
    merged = _merged(arms, discount)
    alpha, beta = _population([hits / n for hits, n in merged.values()])
    best, worth = None, rng.beta(alpha, beta)
    for base_id, (hits, evaluations) in merged.items():
        drawn = rng.beta(alpha + hits, beta + evaluations - hits)
        if drawn > worth:
            best, worth = base_id, drawn
    return best


def _merged(arms: Sequence[Arm], discount: float) -> Mapping[str, tuple[float, float]]:
    """Return hits and evaluations of each base, older visits discounted."""
    merged: dict[str, tuple[float, float]] = {}
    for arm in arms:
        if arm.evaluations:
            hits, evaluations = merged.get(arm.base_id, (0.0, 0.0))
            merged[arm.base_id] = (
                discount * hits + arm.hits,
                discount * evaluations + arm.evaluations,
            )
    return merged


def _population(rates: Sequence[float]) -> tuple[float, float]:
    """Return the Beta distribution with the mean and variance of the rates; flat for one or none.

    Rates are kept off 0 and 1 and their spread off 0, so that the distribution exists.
    """
    if len(rates) < 2:
        return 1.0, 1.0
    mean = float(np.clip(np.mean(rates), 0.01, 0.99))
    variance = float(np.clip(np.var(rates, ddof=1), 1e-4, 0.9 * mean * (1 - mean)))
    size = mean * (1 - mean) / variance - 1
    return mean * size, (1 - mean) * size
