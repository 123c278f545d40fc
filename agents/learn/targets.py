"""Outputs of the property head: one per property and level of theory, never mixed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from model.property.head import PropertyHead

SMALLEST_SCALE = 0.1
"""Scale given to a new output whose labels hardly differ (in the target's unit)."""


def target_name(name: str, level: str) -> str:
    """Return the head's name of a property at a level of theory."""
    return f"{name}@{level}"


def split_target(target: str) -> tuple[str, str]:
    """Return property and level of a head's target."""
    name, level = target.split("@", maxsplit=1)
    return name, level


def nearest_target(target: str, known: Sequence[str], potential_level: str) -> str | None:
    """Return the known output closest to a target: of the same property, at another level.

    Args:
        target: ``property@level``.
        known: Outputs of a head.
        potential_level: Level of the campaign's potential, preferred over the others.

    Returns:
        The target itself if known; else the property at the potential's level; else the first
        output of the property; None where the head knows nothing of it.
    """
    name, _ = split_target(target)
    same = [output for output in known if split_target(output)[0] == name]
    for wanted in (target, target_name(name, potential_level)):
        if wanted in same:
            return wanted
    return same[0] if same else None


def widen(
    head: PropertyHead,
    labels: Mapping[str, NDArray[np.float64]],
    potential_level: str,
) -> PropertyHead:
    """Return the head with an output for every target, the old ones untouched.

    A new output starts as a copy of the nearest one. Where the head knows nothing of the property
    it starts as a constant: the mean of the labels, with their spread as scale.

    Args:
        head: The head to widen.
        labels: ``property@level`` to the values it will learn from; there may be none yet.
        potential_level: Level of the campaign's potential.
    """
    import torch

    for target in _sorted_new(labels, head.targets):
        copied = nearest_target(target, head.targets, potential_level)
        head = head.with_target(target, copy_from=copied)
        if copied is None and len(labels[target]):
            row = head.targets.index(target)
            values = labels[target]
            with torch.no_grad():
                head.out_weight[row].zero_()
                head.target_mean[row] = float(values.mean())
                head.target_scale[row] = max(float(values.std()), SMALLEST_SCALE)
    return head


def _sorted_new(labels: Iterable[str], known: Sequence[str]) -> list[str]:
    return sorted(target for target in labels if target not in known)
