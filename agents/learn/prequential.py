"""Errors of the predictions that were stored before their labels were known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from agents.learn.bootstrap import bootstrap_mean
from agents.learn.labels import Label
from agents.learn.lineage import lineage, trained_keys
from agents.learn.settings import LearnSettings
from agents.learn.split import identities
from db.documents import ModelVersion


def mark_clean(
    labels: Sequence[Label], known: Sequence[Label], versions: Sequence[ModelVersion]
) -> list[Label]:
    """Mark the stored predictions by heads that had learned something of the same crystal.

    A candidate's relaxed crystal is often predicted by a head that has learned its decoded one
    already, or equal codes of another candidate: no prediction of something unknown.

    Args:
        labels: Labels to mark.
        known: All labels of the campaign.
        versions: All versions of the campaign's head.

    Returns:
        The labels in the order given.
    """
    by_digits = {version.sha256[:12]: version.id for version in versions}
    learned: dict[str, set[str]] = {}
    marked = []
    for label in labels:
        found = label.prequential
        if found is not None:
            if found.version not in learned:
                keys = trained_keys(lineage(versions, by_digits.get(found.version)))
                learned[found.version] = identities(one for one in known if one.key in keys)
            clean = not identities([label]) & learned[found.version]
            label = replace(label, prequential=replace(found, clean=clean))
        marked.append(label)
    return marked


def stored_errors(labels: Sequence[Label], settings: LearnSettings, seed: int) -> dict[str, Any]:
    """Summarise the stored predictions of labels.

    Args:
        labels: Labels, each with the prediction made before it was known.
        settings: Resamples and coverage of the intervals.
        seed: Source of the bootstrap.

    Returns:
        For each target: ``mae`` with its interval (the target's unit) of the clean predictions;
        ``mae_known`` of those by a head that had learned another label of the crystal (see
        `mark_clean`); ``without``: how many labels have no stored prediction; ``other_level``: how
        many predictions stand in from another level of theory because the head had no output at
        the label's own level yet.
    """
    by_target: dict[str, list[Label]] = defaultdict(list)
    for label in labels:
        by_target[label.target].append(label)
    summary: dict[str, Any] = {}
    for target, own in sorted(by_target.items()):
        errors: dict[bool, list[float]] = {True: [], False: []}
        for x in own:
            if x.prequential:
                errors[x.prequential.clean].append(abs(x.prequential.value - x.value))
        summary[target] = {
            "mae": _mean(errors[True], settings, seed),
            "mae_known": _mean(errors[False], settings, seed),
            "without": sum(x.prequential is None for x in own),
            "other_level": sum(not x.prequential.same_level for x in own if x.prequential),
        }
    return summary


def _mean(errors: Sequence[float], settings: LearnSettings, seed: int) -> dict[str, Any] | None:
    if not errors:
        return None
    return bootstrap_mean(
        np.array(errors), samples=settings.bootstrap, confidence=settings.confidence, seed=seed
    ).record()
