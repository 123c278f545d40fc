"""What a trained screen is worth: errors on held-out crystals, and the error bars they give."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from agents.screen.alignn_checkpoint import Calibration, Errors
from agents.screen.domain import TrainingSet
from agents.screen.training_data import LabelledGraphs

ONE_SIGMA = 0.6827
"""Share of a normal distribution within one standard deviation."""
_GROUPS = 5
_PLACES = 104


def calibrate(predicted: Tensor, labels: Tensor, groups: int = _GROUPS) -> Calibration:
    """Find the usual error in groups of predicted values (split conformal, by group).

    The half-width of a group of n held-out crystals is the ceil(0.6827 (n + 1))-th smallest
    absolute error, which covers a new crystal of that group with at least that probability
    (Angelopoulos and Bates, arXiv:2107.07511).

    Args:
        predicted: (n,) of one property.
        labels: (n,) the truth.
        groups: With equally many crystals each.

    Returns:
        Edges between the groups, and the half-width of each.
    """
    values, errors = predicted.double().numpy(), (predicted - labels).abs().double().numpy()
    edges = np.quantile(values, np.arange(1, groups) / groups)
    members = np.searchsorted(edges, values, side="right")
    std = []
    for group in range(groups):
        inside = np.sort(errors[members == group])
        rank = min(len(inside), math.ceil(ONE_SIGMA * (len(inside) + 1)))
        if rank == 0:
            raise ValueError("too few validation crystals for a calibration")
        std.append(float(inside[rank - 1]))
    return Calibration(edges=tuple(edges.tolist()), std=tuple(std))


def measure(
    predicted: Tensor,
    data: LabelledGraphs,
    properties: Sequence[str],
    calibration: dict[str, Calibration],
    linear: Tensor,
    most_atoms: int,
) -> Errors:
    """Compare predictions with labels.

    Args:
        predicted: (n, P).
        data: n crystals.
        properties: Names of the P columns.
        calibration: By property.
        linear: (101, P) the network's linear part.
        most_atoms: Of the cells that were trained on.

    Returns:
        The errors.
    """
    errors = predicted - data.labels
    larger = torch.tensor([len(graph.atomic_numbers) > most_atoms for graph in data.graphs])
    columns = {name: errors[:, i] for i, name in enumerate(properties)}
    if "band_gap" in columns:
        i = list(properties).index("band_gap")
        columns["band_gap_at_least_0"] = predicted[:, i].clamp_min(0.0) - data.labels[:, i]
    alone = (data.composition().float() @ linear - data.labels).abs().mean(dim=0)
    return Errors(
        crystals=len(data),
        mae={name: _short(column.abs().mean()) for name, column in columns.items()},
        rmse={name: _short(column.square().mean().sqrt()) for name, column in columns.items()},
        mae_larger={
            name: _short(column[larger].abs().mean())
            for name, column in columns.items()
            if larger.any()
        },
        crystals_larger=int(larger.sum()),
        coverage={
            name: _covered(predicted[:, i], errors[:, i], calibration[name])
            for i, name in enumerate(properties)
        },
        linear={name: _short(alone[i]) for i, name in enumerate(properties)},
    )


def remember(data: LabelledGraphs, name: str) -> TrainingSet:
    """Return what says later whether a crystal is like the training crystals.

    Args:
        data: Those trained on.
        name: Of the set, for a person.
    """
    numbers = [np.unique(graph.atomic_numbers, return_counts=True) for graph in data.graphs]
    parts = sorted(
        {
            tuple(zip(kinds.tolist(), (counts // np.gcd.reduce(counts)).tolist()))
            for kinds, counts in numbers
        }
    )
    flat = np.array([pair for part in parts for pair in part])
    crystals = np.zeros(_PLACES, dtype=int)
    for kinds, _ in numbers:
        crystals[kinds] += 1
    return TrainingSet(
        name,
        numbers=flat[:, 0],
        amounts=flat[:, 1],
        starts=np.cumsum([0, *(len(part) for part in parts[:-1])]),
        crystals=crystals,
        largest=max(len(graph.atomic_numbers) for graph in data.graphs),
    )


def _covered(predicted: Tensor, errors: Tensor, calibration: Calibration) -> float:
    groups = np.searchsorted(np.array(calibration.edges), predicted.numpy(), side="right")
    within = errors.abs().numpy() <= np.array(calibration.std)[groups]
    return float(f"{within.mean():.4f}")


def _short(value: Tensor) -> float:
    return float(f"{value.item():.4g}")
