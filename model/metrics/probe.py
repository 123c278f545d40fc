"""What frozen vectors know of a property: a small network trained on them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class ProbeResult:
    """How well a property is read off, on rows the probe was not trained on."""

    r2: float
    mae: float
    n: int


def probe(
    vectors: Tensor,
    values: Tensor,
    test_vectors: Tensor,
    test_values: Tensor,
    *,
    steps: int = 1500,
    seed: int = 0,
) -> ProbeResult:
    """Train a network with two hidden layers of 128 and judge it on other rows.

    Rows without a value (NaN) are left out on both sides.

    Args:
        vectors: (n, F) of the training rows.
        values: (n,) of the property.
        test_vectors: (m, F).
        test_values: (m,).
        steps: of AdamW with batches of 512.
        seed: of weights, batches and dropout.

    Raises:
        ValueError: if a side has fewer than two values.
    """
    known, judged = ~values.isnan(), ~test_values.isnan()
    x, y = vectors[known].float(), values[known].float()
    if len(y) < 2 or int(judged.sum()) < 2:
        raise ValueError(f"{len(y)} training and {int(judged.sum())} test values are too few")
    mean, spread = x.mean(0), x.std(0) + 1e-6
    middle, scale = y.mean(), y.std() + 1e-12
    x, y = (x - mean) / spread, (y - middle) / scale
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Linear(x.shape[1], 128),
            nn.GELU(),
            nn.Dropout(0.1),
            nn.Linear(128, 128),
            nn.GELU(),
            nn.Linear(128, 1),
        )
        optimiser = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
        for _ in range(steps):
            rows = torch.randint(len(x), (512,))
            loss = F.smooth_l1_loss(network(x[rows])[:, 0], y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    network.eval()
    truth = test_values[judged].float()
    with torch.no_grad():
        found = network((test_vectors[judged].float() - mean) / spread)[:, 0] * scale + middle
    error = found - truth
    explained = 1 - error.pow(2).sum() / (truth - truth.mean()).pow(2).sum()
    return ProbeResult(explained.item(), error.abs().mean().item(), len(truth))
