"""Split-conformal quantiles: intervals whose coverage is measured, not assumed.

An interval is centre ± q std, and q is the quantile of |error| / std over rows kept out of the
training (Lei et al., J. Am. Stat. Assoc. 113, 1094 (2018), doi 10.1080/01621459.2017.1307116). On
rows like the kept-out ones it covers what it says, whatever the errors look like; on others, such
as recombined codes, nothing is promised.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

GRID = 199  # quantiles kept: 0.5 %, 1 %, ... 99.5 %
MIN_ROWS = 20  # with fewer no interval of 95 % exists: 1 - 1 / (n + 1) is the widest


def lower_bound(target: str) -> float:
    """Return the smallest value a target can take: a band gap is not negative."""
    return 0.0 if target.startswith("band_gap@") else -math.inf


def scores(mean: Tensor, std: Tensor, truth: Tensor, lowest: float) -> Tensor:
    """Return by what multiple of the std each interval must reach to hold the truth.

    The interval is cut at `lowest`, so a truth of exactly that value is held however far below it
    the mean lies.

    Args:
        mean: (n,) predicted, not cut.
        std: (n,).
        truth: (n,).
        lowest: smallest possible value, -inf for none.
    """
    score = (mean - truth).abs() / std.clamp(min=1e-9)
    held = (truth <= lowest) & (mean <= lowest)
    return torch.where(held, torch.zeros_like(score), score)


def quantile_table(values: Tensor) -> Tensor:
    """Return `GRID` evenly spaced quantiles of scores, corrected for their finite number.

    The k-th smallest of n scores covers k / (n + 1) of new rows, so the quantile of coverage c is
    the ceil((n + 1) c)-th; where that is more than n the largest score stands (see `multiples`).

    Args:
        values: (n,) scores, n > 0.

    Returns:
        (GRID,) in the order of coverage.
    """
    ordered = values.sort().values
    n = len(ordered)
    ranks = [min(n, _rank(n, (i + 1) / (GRID + 1))) for i in range(GRID)]
    return ordered[torch.tensor(ranks) - 1]


def multiple(table: Tensor, n: int, coverage: float) -> float:
    """Return how many std an interval of some coverage reaches to each side.

    Args:
        table: (GRID,) from `quantile_table`.
        n: number of scores behind it.
        coverage: between 0 and 1; between two quantiles the larger one is taken.

    Returns:
        inf where n rows cannot promise the coverage.

    Raises:
        ValueError: if the coverage is not between 0 and 1.
    """
    if not 0 < coverage < 1:
        raise ValueError(f"a coverage lies between 0 and 1, got {coverage}")
    place = math.ceil(coverage * (GRID + 1) - 1e-9)
    if n < MIN_ROWS or _rank(n, coverage) > n or place > GRID:
        return math.inf
    return float(table[place - 1])


def _rank(n: int, coverage: float) -> int:
    """Return the rank of the score that covers a share of new rows (1 is the smallest)."""
    return max(1, math.ceil((n + 1) * coverage - 1e-9))
