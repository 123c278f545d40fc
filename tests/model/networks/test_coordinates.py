"""The periodic categorical against a version written out with loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from model.networks.coordinates import fourier_features, periodic_cross_entropy, periodic_mean

BINS = 12


def _loss_by_hand(logits: np.ndarray, frac: float) -> float:
    target = np.zeros(BINS)
    position = (frac - math.floor(frac)) * BINS
    for k in range(BINS):
        distance = min(abs(position - k), BINS - abs(position - k))
        target[k] = max(0.0, 1 - distance)
    log_p = logits - np.log(np.exp(logits).sum())
    return float(-(target * log_p).sum())


def _mean_by_hand(logits: np.ndarray) -> float:
    p = np.exp(logits) / np.exp(logits).sum()
    mode = int(p.argmax())
    near = [(mode + o, p[(mode + o) % BINS]) for o in (-2, -1, 0, 1, 2)]
    return (sum(k * w for k, w in near) / sum(w for _, w in near) / BINS) % 1.0


@pytest.mark.parametrize("frac", [0.0, 0.04, 0.5, 0.96, 0.999, 1.3, -0.2])
def test_loss_equals_the_loop(frac: float) -> None:
    logits = np.random.default_rng(3).normal(size=BINS)
    loss = periodic_cross_entropy(torch.tensor(logits), torch.tensor(frac, dtype=torch.float64))
    assert loss.item() == pytest.approx(_loss_by_hand(logits, frac), abs=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_mean_equals_the_loop(seed: int) -> None:
    logits = np.random.default_rng(seed).normal(size=BINS) * 3
    value = periodic_mean(torch.tensor(logits)).item()
    assert 0 <= value < 1
    difference = value - _mean_by_hand(logits)
    assert abs(difference - round(difference)) < 1e-9


def test_the_best_logits_decode_to_the_coordinate_across_the_border() -> None:
    frac = torch.rand(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    frac[:4] = torch.tensor([0.0, 0.999, 0.001, 0.98])
    logits = torch.full((200, BINS), -30.0, dtype=torch.float64)
    low = (frac * BINS).floor()
    weight = frac * BINS - low
    rows = torch.arange(200)
    logits[rows, low.long() % BINS] = (1 - weight + 1e-12).log()
    logits[rows, (low.long() + 1) % BINS] = (weight + 1e-12).log()
    difference = periodic_mean(logits) - frac
    assert (difference - difference.round()).abs().max() < 1e-6


def test_loss_and_features_do_not_see_whole_cells() -> None:
    logits = torch.randn(5, BINS, dtype=torch.float64)
    frac = torch.tensor([0.0, 0.2, 0.4, 0.6, 0.99], dtype=torch.float64)
    torch.testing.assert_close(
        periodic_cross_entropy(logits, frac), periodic_cross_entropy(logits, frac + 7)
    )
    torch.testing.assert_close(fourier_features(frac), fourier_features(frac - 3))
