"""Errors of the predictions that were stored before their labels were known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from agents.learn.bootstrap import bootstrap_mean
from agents.learn.labels import Label
from agents.learn.settings import LearnSettings


def stored_errors(labels: Sequence[Label], settings: LearnSettings, seed: int) -> dict[str, Any]:
    """Summarise the stored predictions of labels.

    Args:
        labels: Labels, each with the prediction made before it was known.
        settings: Resamples and coverage of the intervals.
        seed: Source of the bootstrap.

    Returns:
        For each target: ``mae`` with its interval (the target's unit), ``without`` a stored
        prediction, and ``other_level``: how many predictions stand in from another level of theory
        because the head had no output at the label's own level yet.
    """
    by_target: dict[str, list[Label]] = defaultdict(list)
    for label in labels:
        by_target[label.target].append(label)
    summary: dict[str, Any] = {}
    for target, own in sorted(by_target.items()):
        errors = [abs(x.prequential.value - x.value) for x in own if x.prequential]
        interval = None
        if errors:
            interval = bootstrap_mean(
                np.array(errors),
                samples=settings.bootstrap,
                confidence=settings.confidence,
                seed=seed,
            ).record()
        summary[target] = {
            "mae": interval,
            "without": len(own) - len(errors),
            "other_level": sum(not x.prequential.same_level for x in own if x.prequential),
        }
    return summary
