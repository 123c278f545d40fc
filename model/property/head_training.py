"""Training, fine-tuning and calibrating a property head on frozen features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from model.property.head import PropertyHead
from model.settings import HeadConfig

_ROW_SHARE = 0.8  # of the rows each member of the ensemble is trained on
_MIN_CALIBRATION = 20  # labels below which the old calibration stays
_CALIBRATION_STEPS = 300


def new_head(
    features: Tensor, labels: Mapping[str, Tensor], config: HeadConfig, seed: int
) -> PropertyHead:
    """Create an untrained head scaled to features and labels.

    Args:
        features: (n, F) of the training rows.
        labels: {target: (n,) values, NaN where unknown}; each target needs two labels.
        config: its sizes.
        seed: of the initial weights.

    Raises:
        ValueError: if a target has fewer than two labels.
    """
    head = PropertyHead(
        features.shape[1], list(labels), width=config.width, members=config.members, seed=seed
    )
    head.feature_mean.copy_(features.mean(0))
    head.feature_scale.copy_(features.std(0).clamp(min=1e-3))
    for t, (name, values) in enumerate(labels.items()):
        known = values[~values.isnan()]
        if len(known) < 2:
            raise ValueError(f"{name} has {len(known)} labels: too few to train on")
        head.target_mean[t] = known.mean()
        head.target_scale[t] = known.std().clamp(min=1e-6)
    return head


def fit_head(
    head: PropertyHead,
    features: Tensor,
    labels: Mapping[str, Tensor],
    config: HeadConfig,
    *,
    seed: int,
    row_weights: Tensor | None = None,
) -> PropertyHead:
    """Train a copy of a head; the one given stays as it is.

    Rows without a label for a target do not count for that target. Each member sees its own
    random share of the rows. A share of the rows is kept out and calibrates the uncertainty.

    Args:
        head: fresh (`new_head`) or an earlier one to fine-tune; its scales are kept.
        features: (n, F).
        labels: {target: (n,) values, NaN where unknown}; targets of the head that are absent here
            are treated as unlabelled.
        config: training settings.
        seed: of shuffling, row shares, drop-out and the calibration rows.
        row_weights: (n,) weight of each row in the loss, 1 by default.

    Raises:
        ValueError: if a label belongs to no target of the head, or shapes differ.
    """
    targets = _standardised(head, labels, len(features))
    weights = torch.ones(len(features)) if row_weights is None else row_weights
    if len(weights) != len(features):
        raise ValueError(f"{len(weights)} row weights for {len(features)} rows")
    random = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(features), generator=random)
    n_calibration = int(len(features) * config.calibration_fraction)
    held, rows = order[:n_calibration], order[n_calibration:]
    trained = head.clone().train()
    share = (torch.rand(head.members, len(features), generator=random) < _ROW_SHARE).float()
    optimiser = torch.optim.AdamW(
        trained.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    n_batches = -(-len(rows) // config.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, total_steps=n_batches * config.epochs + 1, pct_start=0.15
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(config.epochs):
            shuffled = rows[torch.randperm(len(rows), generator=random)]
            for batch in shuffled.split(config.batch_size):
                predicted = trained(features[batch], dropout=config.dropout)
                loss = _masked_loss(predicted, targets[:, batch], share[:, batch] * weights[batch])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
    trained.eval()
    _calibrate(trained, features[held], targets[:, held])
    return trained


def property_metrics(
    head: PropertyHead, features: Tensor, labels: Mapping[str, Tensor]
) -> dict[str, dict[str, float]]:
    """Return how well a head predicts rows it was not trained on.

    Args:
        head: to judge.
        features: (n, F).
        labels: {target: (n,) values, NaN where unknown}.

    Returns:
        {target: {"n", "mae", "rmse", "r2", "mae_constant", "coverage_68", "coverage_95"}}; the
        coverages are the shares of labels within 1 and 1.96 predicted standard deviations.
    """
    predictions = head.predict(features)
    result = {}
    for name, values in labels.items():
        known = ~values.isnan()
        if name not in predictions or int(known.sum()) < 2:
            continue
        truth = values[known]
        mean, std = (column[known] for column in predictions[name])
        error = (mean - truth).abs()
        constant = (truth - truth.mean()).abs()
        result[name] = {
            "n": int(known.sum()),
            "mae": error.mean().item(),
            "rmse": error.pow(2).mean().sqrt().item(),
            "r2": 1 - (error.pow(2).sum() / constant.pow(2).sum()).item(),
            "mae_constant": constant.mean().item(),
            "coverage_68": (error <= std).float().mean().item(),
            "coverage_95": (error <= 1.96 * std).float().mean().item(),
        }
    return result


def _standardised(head: PropertyHead, labels: Mapping[str, Tensor], n: int) -> Tensor:
    """Return the labels as (T, n) in units of the head's scales, NaN where unknown."""
    unknown = set(labels) - set(head.targets)
    if unknown:
        raise ValueError(f"the head has no output for {sorted(unknown)}, only {head.targets}")
    rows = []
    for t, name in enumerate(head.targets):
        values = labels.get(name, torch.full((n,), torch.nan)).float()
        if values.shape != (n,):
            raise ValueError(f"{name}: {tuple(values.shape)} labels for {n} rows")
        rows.append((values - head.target_mean[t]) / head.target_scale[t])
    return torch.stack(rows)


def _masked_loss(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Average the smooth L1 loss over what is known.

    Args:
        predicted: (T, members, b).
        target: (T, b), NaN where unknown.
        weight: (members, b).
    """
    known = ~target.isnan()
    filled = torch.where(known, target, torch.zeros_like(target))
    loss = F.smooth_l1_loss(
        predicted, filled[:, None].expand_as(predicted), beta=0.3, reduction="none"
    )
    effective = weight[None] * known[:, None]
    return (loss * effective).sum() / effective.sum().clamp(min=1.0)


def _calibrate(head: PropertyHead, features: Tensor, targets: Tensor) -> None:
    """Fit spread_scale and noise per target by Gaussian likelihood on kept-out rows."""
    if len(features) == 0:
        return
    with torch.no_grad():
        members = head(features)
    for t in range(len(head.targets)):
        known = ~targets[t].isnan()
        if int(known.sum()) < _MIN_CALIBRATION:
            continue
        own = members[t][:, known]
        error = own.mean(0) - targets[t][known]
        scale, noise = _fit_scale(error, own.std(0, unbiased=False))
        head.spread_scale[t], head.noise[t] = scale, noise
        head.uncalibrated = [name for name in head.uncalibrated if name != head.targets[t]]


def _fit_scale(error: Tensor, spread: Tensor) -> tuple[float, float]:
    """Return (a, b) of std^2 = (a spread)^2 + b^2 that make the errors most likely."""
    start: Sequence[float] = (0.0, float(error.std().clamp(min=1e-4).log()) - 0.7)
    parameters = torch.tensor(start, requires_grad=True)
    optimiser = torch.optim.Adam([parameters], lr=0.05)
    for _ in range(_CALIBRATION_STEPS):
        scale, noise = parameters.exp()
        variance = (scale * spread) ** 2 + noise**2
        loss = (0.5 * variance.log() + 0.5 * error**2 / variance).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    scale, noise = parameters.detach().exp().tolist()
    return scale, noise
