"""Conformal intervals: finite-sample quantiles, gaps that cannot be negative."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from model.property.conformal import MIN_ROWS, multiple, quantile_table, scores


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.95])
def test_the_multiple_is_the_corrected_order_statistic(coverage: float) -> None:
    for n in (20, 37, 500):
        values = torch.rand(n, generator=torch.Generator().manual_seed(n))
        expected = np.sort(values.numpy())[math.ceil((n + 1) * coverage) - 1]
        found = multiple(quantile_table(values), n, coverage)
        assert found == pytest.approx(float(expected), abs=0)


def test_new_rows_are_covered_as_promised_on_average() -> None:
    """Marginal coverage over many calibrations: at least c, at most c + 1 / (n + 1)."""
    rng = np.random.default_rng(0)
    n, draws = 39, 4000
    for coverage in (0.5, 0.8, 0.95):
        held = [
            rng.exponential()
            <= multiple(quantile_table(torch.from_numpy(rng.exponential(size=n))), n, coverage)
            for _ in range(draws)
        ]
        error = 3 * math.sqrt(coverage * (1 - coverage) / draws)
        assert coverage - error < np.mean(held) < coverage + 1 / (n + 1) + error


def test_too_few_rows_promise_nothing() -> None:
    table = quantile_table(torch.rand(MIN_ROWS))
    assert math.isinf(multiple(table, MIN_ROWS - 1, 0.5))
    assert math.isfinite(multiple(table, MIN_ROWS, 0.95))
    assert math.isinf(multiple(table, MIN_ROWS, 0.96))  # 20 / 21 = 0.952
    with pytest.raises(ValueError, match="between 0 and 1"):
        multiple(table, MIN_ROWS, 1.0)


def test_scores_are_those_of_the_cut_interval() -> None:
    """The interval of exactly that reach, cut at zero, holds the truth; a smaller one does not."""
    random = torch.Generator().manual_seed(0)
    mean = torch.randn(500, generator=random).double()
    std = torch.rand(500, generator=random).double() + 0.1
    truth = torch.randn(500, generator=random).double().clamp(min=0)
    reach = scores(mean, std, truth, 0.0)
    for factor, expected in ((1 + 1e-9, True), (1 - 1e-6, False)):
        low = (mean - factor * reach * std).clamp(min=0)
        high = (mean + factor * reach * std).clamp(min=0)
        held = (truth >= low) & (truth <= high)
        decided = reach > 0
        assert held[decided].all() if expected else not held[decided].any()
        assert held[~decided].all()
    assert (reach == 0).any()
