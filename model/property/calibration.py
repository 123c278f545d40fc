"""Fitting a head's uncertainty on rows it was not trained on, and measuring it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from model.property.conformal import MIN_ROWS, lower_bound, quantile_table, scores
from model.property.head import COVERAGES, PropertyHead

_NOISE_ROWS = 200  # residuals below which the noise of the rows stays as it was
_NOISE_STEPS = 200
_NOISE_RATE = 0.01
_NOISE_DECAY = 0.02
_SCALE_STEPS = 300
_ONE_SIGMA = 0.683


def fit_noise(head: PropertyHead, features: Tensor, targets: Tensor, unseen: Tensor) -> None:
    """Learn how noisy each row is, from the residuals of members that did not see it.

    A linear output on the frozen last hidden layer, fitted as the scale of a Laplace distribution:
    large residuals of wrong labels do not rule it as they would a Gaussian. Residuals of rows that
    a member was trained on would be too small.

    Args:
        head: trained; changed in place.
        features: (n, F).
        targets: (T, n) in units of the head's scales, NaN where unknown.
        unseen: (members, n) bool, rows that a member was not trained on.
    """
    rows = unseen.any(0).nonzero()[:, 0]
    if len(rows) < _NOISE_ROWS:
        return
    features, targets, unseen = features[rows], targets[:, rows], unseen[:, rows]
    with torch.no_grad():
        hidden = head.hidden(features)
        residuals = (head(features) - targets[:, None]).abs()
    for t in range(len(head.targets)):
        usable = unseen & ~targets[t].isnan()
        if int(usable.sum()) < _NOISE_ROWS:
            continue
        residual = torch.where(usable, residuals[t], torch.zeros_like(residuals[t]))
        size = residual.sum() / usable.sum()
        # The bias starts at the mean size; `noise` takes the common factor over afterwards.
        weight = head.noise_weight[t].detach().clone().requires_grad_()
        bias = torch.full_like(head.noise_bias[t], float(size.clamp(min=1e-6).log()))
        bias.requires_grad_()
        optimiser = torch.optim.AdamW([weight, bias], lr=_NOISE_RATE, weight_decay=_NOISE_DECAY)
        for _ in range(_NOISE_STEPS):
            log = ((hidden @ weight[..., None])[..., 0] + bias[:, None]).clamp(-8, 4)
            loss = ((log + residual * (-log).exp()) * usable).sum() / usable.sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            head.noise_weight[t] = weight
            head.noise_bias[t] = bias - size.clamp(min=1e-6).log()


def calibrate(
    head: PropertyHead, features: Tensor, targets: Tensor, focus: Tensor | None = None
) -> None:
    """Fit spread, noise and conformal quantiles per target on kept-out rows.

    Args:
        head: trained; changed in place. A target with fewer than 20 labels here keeps what it had.
        features: (n, F) of rows that no member was trained on.
        targets: (T, n) in units of the head's scales, NaN where unknown.
        focus: (n,) bool, the rows like those the head will be asked about: where they have enough
            labels of a target, they alone calibrate it.
    """
    if len(features) < MIN_ROWS:
        return
    with torch.no_grad():
        hidden = head.hidden(features)
        members, relative = head(features), head.relative_noise(hidden)
    for t, name in enumerate(head.targets):
        known = ~targets[t].isnan()
        if focus is not None and int((known & focus).sum()) >= MIN_ROWS:
            known = known & focus
        n = int(known.sum())
        if n < MIN_ROWS:
            continue
        own, truth = members[t][:, known], targets[t][known]
        mean, spread = own.mean(0), own.std(0, unbiased=False)
        scale, noise = _fit_scale(mean - truth, spread, relative[t][known])
        head.spread_scale[t], head.noise[t] = scale, noise
        std = torch.sqrt((scale * spread) ** 2 + (noise * relative[t][known]) ** 2)
        lowest = lower_bound(name)
        if math.isfinite(lowest):
            # One comparison in the target's unit: standardising does not keep an exact zero.
            unit, offset = head.target_scale[t], head.target_mean[t]
            mean, std, truth = mean * unit + offset, std * unit, truth * unit + offset
            truth = torch.where((truth - lowest).abs() < 1e-5, lowest, truth)
        head.quantiles[t] = quantile_table(scores(mean, std, truth, lowest))
        head.n_calibration[t] = n
        head.uncalibrated = [other for other in head.uncalibrated if other != name]


def _fit_scale(error: Tensor, spread: Tensor, relative: Tensor) -> tuple[float, float]:
    """Return (a, b) of std^2 = (a spread)^2 + (b relative)^2.

    Their ratio makes the errors most likely; their size lets one std hold 68.3 % of the errors,
    which a few large ones would otherwise spoil.
    """
    start = (0.0, float((error / relative).std().clamp(min=1e-4).log()) - 0.7)
    parameters = torch.tensor(start, requires_grad=True)
    optimiser = torch.optim.Adam([parameters], lr=0.05)
    for _ in range(_SCALE_STEPS):
        scale, noise = parameters.exp()
        variance = (scale * spread) ** 2 + (noise * relative) ** 2
        loss = (0.5 * variance.log() + 0.5 * error**2 / variance).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    scale, noise = parameters.detach().exp()
    std = torch.sqrt((scale * spread) ** 2 + (noise * relative) ** 2)
    size = (error.abs() / std.clamp(min=1e-9)).quantile(_ONE_SIGMA).clamp(min=1e-3)
    return float(scale * size), float(noise * size)


def coverage_table(
    head: PropertyHead,
    features: Tensor,
    labels: Mapping[str, Tensor],
    coverages: Sequence[float] = COVERAGES,
) -> dict[str, dict[float, dict[str, float]]]:
    """Return how often a head's intervals hold the truth, beside what they promise.

    Args:
        head: to judge.
        features: (n, F) of rows that neither trained nor calibrated it.
        labels: {target: (n,) values, NaN where unknown}.
        coverages: what the intervals promise.

    Returns:
        {target: {promised: {"n", "covered", "width"}}}: share of labels inside, and median width
        in the target's unit. Targets without labels, or whose intervals are infinite at a
        coverage, are left out there.
    """
    intervals = head.intervals(features, coverages)
    result: dict[str, dict[float, dict[str, float]]] = {}
    for name, values in labels.items():
        known = ~values.isnan()
        if name not in intervals or not known.any():
            continue
        rows = {}
        for share, (low, high) in intervals[name].items():
            if not bool(high.isfinite().all()):
                continue
            truth, low, high = values[known], low[known], high[known]
            rows[share] = {
                "n": int(known.sum()),
                "covered": ((truth >= low) & (truth <= high)).float().mean().item(),
                "width": (high - low).median().item(),
            }
        result[name] = rows
    return result
