"""The probe finds what is there, and nothing where nothing is."""

from __future__ import annotations

import pytest
import torch

from model.metrics.probe import probe


def _data(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(n))
    return x, 3 * x[:, 0] - x[:, 1] ** 2 + 10


def test_a_smooth_function_is_learned_and_noise_is_not() -> None:
    (x, y), (xt, yt) = _data(2000), _data(500)
    assert probe(x, y, xt, yt, steps=400).r2 > 0.9
    noise = torch.randn(500, generator=torch.Generator().manual_seed(0))
    assert probe(x, y, xt, noise, steps=400).r2 < 0.1


def test_missing_values_are_left_out_and_the_seed_decides() -> None:
    (x, y), (xt, yt) = _data(300), _data(100)
    y[::3], yt[::2] = float("nan"), float("nan")
    first, again = (probe(x, y, xt, yt, steps=60, seed=4) for _ in range(2))
    assert first == again
    assert first.n == 50
    assert first != probe(x, y, xt, yt, steps=60, seed=5)
    with pytest.raises(ValueError, match="too few"):
        probe(x, torch.full_like(y, float("nan")), xt, yt)


def test_the_figures_are_those_of_the_errors() -> None:
    (x, y), (xt, yt) = _data(400), _data(100)
    constant = probe(torch.zeros_like(x), y, torch.zeros_like(xt), yt, steps=200)
    assert constant.r2 == pytest.approx(0, abs=0.1)
    assert constant.mae == pytest.approx((yt - y.median()).abs().mean().item(), rel=0.15)
