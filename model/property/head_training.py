"""Training, fine-tuning and calibrating a property head on frozen features."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from model.property.calibration import calibrate, coverage_table, fit_noise
from model.property.conformal import lower_bound
from model.property.descriptors import n_descriptors
from model.property.head import PropertyHead
from model.settings import HeadConfig

_ROW_SHARE = 0.8  # of the rows each member of the ensemble is trained on
_ABOVE_BOUND = 4.0  # weight of a label above its target's lowest value, see `_label_weights`
_DAMPING = 5.0  # of learned features: they know the training crystals' labels, chemistry does not
_EXACT = 1e-5  # standardised labels within this of the lowest value are that value
_LOTS_PER_UNIT = 10.0  # how fine the lots of `_lots` are cut


def new_head(
    features: Tensor, labels: Mapping[str, Tensor], config: HeadConfig, seed: int
) -> PropertyHead:
    """Create an untrained head scaled to features and labels.

    What the network learned comes from the very crystals and labels the head is trained on, and
    tempts it to rely on what does not generalise; so the learned features enter damped beside the
    descriptors (MP-20: 0.072 instead of 0.088 eV/atom on validation crystals).

    Args:
        features: (n, F) of the training rows, from `model.property.descriptors.property_inputs`:
            the last `n_descriptors()` columns are descriptors. Fewer columns are all taken as they
            are.
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
    head.feature_scale[: max(0, features.shape[1] - n_descriptors())] *= _DAMPING
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
    focus: Tensor | None = None,
) -> PropertyHead:
    """Train a copy of a head; the one given stays as it is.

    Rows without a label for a target do not count for that target. Each member sees its own share
    of the rows. Another share of the rows is kept out and calibrates the uncertainty. Which rows
    these are follows from their features alone: a head that is fine-tuned, rehearsing what it
    learned, is calibrated on rows that no head of its lineage was trained on. A head without
    targets, of a data set without labels, has nothing to learn.

    Args:
        head: fresh (`new_head`) or an earlier one to fine-tune; its scales are kept.
        features: (n, F).
        labels: {target: (n,) values, NaN where unknown}; targets of the head that are absent here
            are treated as unlabelled.
        config: training settings.
        seed: of shuffling and drop-out.
        row_weights: (n,) weight of each row in the loss, 1 by default.
        focus: (n,) bool, the rows like those the head will be asked about; where enough of them
            are kept out, they alone calibrate.

    Raises:
        ValueError: if a label belongs to no target of the head, or shapes differ.
    """
    if not head.targets:
        return head.clone()
    targets = _standardised(head, labels, len(features))
    weights = torch.ones(len(features)) if row_weights is None else row_weights
    if len(weights) != len(features):
        raise ValueError(f"{len(weights)} row weights for {len(features)} rows")
    random = torch.Generator().manual_seed(seed)
    lots = _lots(head, features)
    kept_out = lots[0] < config.calibration_fraction
    held, rows = kept_out.nonzero()[:, 0], (~kept_out).nonzero()[:, 0]
    if not len(rows):
        raise ValueError(f"all {len(features)} rows are kept out for calibration: give more")
    trained = head.clone().train()
    seen = lots[1:] < _ROW_SHARE
    member_weights = seen * weights
    label_weights = _label_weights(trained, targets)
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
                weight = member_weights[:, batch] * label_weights[:, None, batch]
                loss = _masked_loss(predicted, targets[:, batch], weight)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
    with torch.no_grad():
        for matrix, _ in trained.layers:
            matrix.copy_(matrix.half().float())  # so that the bytes are half as many
    trained.eval()
    fit_noise(trained, features, targets, ~seen & ~kept_out)
    calibrate(trained, features[held], targets[:, held], None if focus is None else focus[held])
    return trained


def calibrated_on(
    head: PropertyHead, features: Tensor, labels: Mapping[str, Tensor]
) -> PropertyHead:
    """Return a copy whose uncertainty is fitted on rows that nothing before it has seen.

    `fit_head` keeps rows out for that, but the features of a data set's training rows come from a
    network that learned their labels: errors there are smaller than on new crystals. Held-out
    crystals are new to both.

    Args:
        head: trained.
        features: (n, F) of the held-out rows.
        labels: {target: (n,) values, NaN where unknown}; targets with few keep what they have.
    """
    result = head.clone()
    calibrate(result, features, _standardised(result, labels, len(features)), None)
    return result


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
        constant is the labels' mean, the coverages are the shares of labels within 1 and 1.96
        predicted standard deviations. "interval_50", "interval_80" and "interval_95" are the
        shares inside the head's intervals, where it has any. Gaps have "n_positive",
        "mae_positive" and "mae_constant_positive" besides: the same over labels above zero.
    """
    predictions = head.predict(features)
    covered = coverage_table(head, features, labels)
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
        for share, row in covered[name].items():
            result[name][f"interval_{100 * share:.0f}"] = row["covered"]
        positive = truth > 0
        if name.startswith("band_gap@") and positive.any():
            gaps = truth[positive]
            result[name] |= {
                "n_positive": int(positive.sum()),
                "mae_positive": error[positive].mean().item(),
                "mae_constant_positive": (gaps - gaps.mean()).abs().mean().item(),
            }
    return result


def _lots(head: PropertyHead, features: Tensor) -> Tensor:
    """Draw lots for rows by their features: equal rows draw equal lots, in every fit.

    The fractional part of a random projection, which is even where the projection varies by much
    more than one. Rounding of the features moves a row across a boundary about once in a thousand.

    Args:
        head: its scales standardise the features.
        features: (n, F).

    Returns:
        (1 + members, n) between 0 and 1; row 0 is for the calibration, the others for the members.
    """
    fixed = torch.Generator().manual_seed(0)
    directions = torch.randn(head.n_features, 1 + head.members, generator=fixed)
    # Half a unit away from zero: rows without any features are not all kept out.
    lots = (head.standardised(features) @ directions).T * _LOTS_PER_UNIT + 0.5
    return lots - lots.floor()


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
    return torch.stack(rows) if rows else torch.zeros(0, n)


def _label_weights(head: PropertyHead, targets: Tensor) -> Tensor:
    """Return the weight of each label (T, n), on average 1 over the labels of a target.

    Half of a set of crystals may be metals, of gap zero: an undecided crystal is then predicted as
    a metal, the median, and gaps are underestimated. Labels above the lowest value weigh more.
    """
    weights = torch.ones_like(targets)
    for t, name in enumerate(head.targets):
        lowest = (lower_bound(name) - float(head.target_mean[t])) / float(head.target_scale[t])
        known = ~targets[t].isnan()
        if math.isinf(lowest) or not known.any():
            continue
        weights[t, targets[t] > lowest + _EXACT] = _ABOVE_BOUND
        weights[t] /= weights[t][known].mean()
    return weights


def _masked_loss(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Average the smooth L1 loss over what is known.

    Args:
        predicted: (T, members, b).
        target: (T, b), NaN where unknown.
        weight: (T, members, b).
    """
    known = ~target.isnan()
    filled = torch.where(known, target, torch.zeros_like(target))
    loss = F.smooth_l1_loss(
        predicted, filled[:, None].expand_as(predicted), beta=0.3, reduction="none"
    )
    effective = weight * known[:, None]
    return (loss * effective).sum() / effective.sum().clamp(min=1.0)
