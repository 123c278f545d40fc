"""Fine-tuning of the property head; encoder, codebooks and decoder stay frozen."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.learn.samples import Samples
from agents.learn.settings import FineTuneSettings

if TYPE_CHECKING:
    from model.head import PropertyHead

_HUBER = 1.0  # in units of the target's scale


@dataclass(frozen=True)
class FineTuned:
    """A fine-tuned head.

    Attributes:
        head: The head at its best epoch.
        epoch: The best epoch, from 1.
        losses: Loss on the stopping slice: before training, then after each epoch.
    """

    head: PropertyHead
    epoch: int
    losses: tuple[float, ...]


@dataclass(frozen=True)
class _Part:
    """Standardised tensors of one source of labels: (n, F), (T, n), (T, n) and (members, n)."""

    features: Tensor
    targets: Tensor
    weights: Tensor
    bags: Tensor

    def loss(self, head: PropertyHead, rows: Tensor, *, bagged: bool) -> Tensor:
        """Return the weighted Huber loss over the labels of some rows, a scalar."""
        error = head(self.features[rows]) - self.targets[:, None, rows]
        loss = torch.nn.functional.huber_loss(
            error, torch.zeros_like(error), reduction="none", delta=_HUBER
        )
        weight = self.weights[:, None, rows].expand_as(loss)
        if bagged:
            weight = weight * self.bags[None, :, rows]
        return (loss * weight).sum() / weight.sum().clamp_min(1e-9)


def fine_tune(
    head: PropertyHead,
    labels: Samples,
    replay: Samples,
    settings: FineTuneSettings,
    seed: int,
) -> FineTuned:
    """Train a copy of a head on new labels while it rehearses the training labels.

    Every step sees as many new labels as replayed ones. Each member of the ensemble weighs the
    rows by its own Poisson draws (online bagging), so the members stay different. A label that is
    missing costs nothing; labels of rare targets weigh more, by the square root of their rarity.
    Training stops when the loss on a slice of both sources no longer falls, and the best epoch is
    kept, whether or not it beats the start: that is for `agents.learn.promotion` to judge.

    Args:
        head: The head to start from; it needs an output for every target of the labels.
        labels: What the campaign found out.
        replay: Training crystals of the code bank.
        settings: Learning rate, epochs and the rest.
        seed: Source of all randomness; equal input gives an equal head.

    Returns:
        The fine-tuned copy; `head` itself is left as it was.

    Raises:
        ValueError: There is no label, or a target has no output.
    """
    missing = set(labels.values) - set(head.targets)
    if missing or not len(labels):
        raise ValueError(
            f"the head has no output for {sorted(missing)}: widen it first"
            if missing
            else "fine-tuning needs at least one label"
        )
    rng = np.random.default_rng(seed)
    student = copy.deepcopy(head).train()
    weights = _target_weights(head, labels, replay)
    sources = [
        (_part(student, samples, weights, rng), *_slices(len(samples), settings, rng))
        for samples in (labels, replay)
        if len(samples)
    ]
    optimiser = torch.optim.AdamW(
        student.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    losses = [_stopping_loss(student, sources)]
    best, best_state = 0, student.state_dict()
    for epoch in range(1, settings.epochs + 1):
        for batches in _batches(sources, settings.batch, rng):
            optimiser.zero_grad()
            total = torch.stack(
                [part.loss(student, rows, bagged=True) for part, rows in batches]
            ).mean()
            total.backward()
            optimiser.step()
        losses.append(_stopping_loss(student, sources))
        if best == 0 or losses[-1] < losses[best]:
            best, best_state = epoch, copy.deepcopy(student.state_dict())
        elif epoch - best >= settings.patience:
            break
    student.load_state_dict(best_state)
    return FineTuned(student.eval(), best, tuple(losses))


_Source = tuple[_Part, Tensor, Tensor]


def _part(head: PropertyHead, samples: Samples, weights: Tensor, rng: np.random.Generator) -> _Part:
    raw = torch.as_tensor(samples.columns(head.targets), dtype=torch.float32)
    known = ~torch.isnan(raw)
    standard = (raw - head.target_mean[:, None]) / head.target_scale[:, None]
    bags = rng.poisson(1.0, size=(head.members, len(samples)))
    return _Part(
        features=samples.features.detach().clone(),
        targets=torch.where(known, standard, torch.zeros_like(standard)),
        weights=known * weights[:, None],
        bags=torch.as_tensor(bags, dtype=torch.float32),
    )


def _target_weights(head: PropertyHead, labels: Samples, replay: Samples) -> Tensor:
    """Return (T,) weights: square root of how much rarer a target is than the most common one."""
    counts = np.array(
        [len(labels.labelled(t)) + len(replay.labelled(t)) for t in head.targets], dtype=float
    )
    return torch.as_tensor(np.sqrt(counts.max() / np.maximum(counts, 1)), dtype=torch.float32)


def _slices(n: int, settings: FineTuneSettings, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return training and stopping rows of a source of n crystals."""
    order = rng.permutation(n)
    kept = min(max(1, round(n * settings.stopping_fraction)), n - 1) if n > 1 else 0
    return torch.as_tensor(order[kept:]), torch.as_tensor(order[:kept])


def _batches(
    sources: list[_Source], batch: int, rng: np.random.Generator
) -> list[list[tuple[_Part, Tensor]]]:
    """Return the steps of one pass over the new labels, each with rows of every source."""
    share = max(1, batch // len(sources))
    steps = -(-len(sources[0][1]) // share)
    per_source = []
    for part, train, _ in sources:
        rows = _cycle(train, steps * share, rng)
        per_source.append([(part, chunk) for chunk in rows.split(share)])
    return [list(step) for step in zip(*per_source, strict=True)]


def _cycle(rows: Tensor, size: int, rng: np.random.Generator) -> Tensor:
    """Return `size` rows in random order, each as often as the others give or take one."""
    passes: list[NDArray[np.intp]] = []
    while sum(map(len, passes)) < size:
        passes.append(rng.permutation(len(rows)))
    return rows[torch.as_tensor(np.concatenate(passes)[:size])]


@torch.no_grad()
def _stopping_loss(head: PropertyHead, sources: list[_Source]) -> float:
    """Return the mean over the sources of their loss on the stopping rows."""
    losses = [part.loss(head, stop, bagged=False) for part, _, stop in sources if len(stop)]
    return float(torch.stack(losses).mean()) if losses else 0.0
