"""Fine-tuning of the property head; encoder, codebooks and decoder stay frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agents.learn.samples import Samples
from agents.learn.settings import FineTuneSettings

if TYPE_CHECKING:
    from model.property.head import PropertyHead


def fine_tune(
    head: PropertyHead,
    labels: Samples,
    replay: Samples,
    settings: FineTuneSettings,
    seed: int,
) -> PropertyHead:
    """Train a copy of a head on new labels while it rehearses the training labels.

    Candidates made of recombined codes are another population than the training crystals, and a
    head that is tuned on them alone forgets the training crystals within a few steps. So every
    pass goes over the rehearsed crystals *and* the new ones, and the learning rate rises and falls
    to zero in the given number of passes (one cycle): measured, that keeps the held-out error
    where it was, and early stopping at a constant rate does not. A missing label costs nothing. A
    crystal with a label of a rare target, such as DFT, weighs more: by the square root of how much
    rarer the target is than the most common one, up to a bound. The uncertainty is calibrated
    again on rows kept out: on the new ones alone where these are enough, since they are what the
    head is asked about.

    Args:
        head: The head to start from; it needs an output for every target of the labels.
        labels: What the campaign found out.
        replay: Training crystals of the code bank.
        settings: Learning rate, passes and the rest.
        seed: Source of all randomness; equal input gives an equal head.

    Returns:
        The fine-tuned copy; `head` itself is left as it was.

    Raises:
        ValueError: There is no label, or a target has no output.
    """
    import torch

    from model.property.head_training import fit_head
    from model.settings import HeadConfig

    if not len(labels):
        raise ValueError("fine-tuning needs at least one label")
    missing = sorted(set(labels.values) - set(head.targets))
    if missing:
        raise ValueError(f"the head has no output for {missing}: widen it first")
    columns = np.concatenate([labels.columns(head.targets), replay.columns(head.targets)], axis=1)
    config = HeadConfig(
        width=head.width,
        members=head.members,
        epochs=settings.epochs,
        batch_size=settings.batch,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        dropout=settings.dropout,
        calibration_fraction=settings.calibration_fraction,
    )
    return fit_head(
        head,
        torch.cat([labels.features, replay.features]),
        {target: torch.from_numpy(column) for target, column in zip(head.targets, columns)},
        config,
        seed=seed,
        row_weights=torch.from_numpy(row_weights(columns, settings.rare_weight)),
        focus=torch.arange(columns.shape[1]) < len(labels),
    )


def row_weights(columns: NDArray[np.float64], most: float) -> NDArray[np.float32]:
    """Return the weight of each crystal in the loss.

    Args:
        columns: (T, n) labels, NaN where unknown.
        most: Largest weight.

    Returns:
        (n,): 1 for the most common target, more for rarer ones.
    """
    known = ~np.isnan(columns)
    counts = np.maximum(known.sum(1), 1)
    rarity = np.minimum(np.sqrt(counts.max() / counts), most)
    return np.where(known, rarity[:, None], 1.0).max(0).astype(np.float32)
