"""How well the property head predicts a split from codes, and how honest its uncertainty is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.codes import CrystalCodes
from model.data.dataset import read_labels, read_split
from model.generator import Generator
from model.property.head_training import property_metrics

PROTOCOL = (
    "encoded, predicted from the stored codes alone; mae_constant: of the split's own mean; "
    "mae_train_median: of the median of the bank's training labels; interval_50/80/95: share of "
    "labels inside the head's conformal intervals; positive: over labels above zero"
)


def evaluate_properties(
    generator: Generator,
    *,
    dataset: str,
    split: str,
    data_dir: Path,
    limit: int | None = None,
    extra_labels: dict[str, Path] | None = None,
) -> dict[str, Any]:
    """Judge the head on a split (SCIENCE §4).

    Args:
        generator: whose head is judged.
        dataset: e.g. "mp20".
        split: "train", "val" or "test".
        data_dir: directory of the data sets.
        limit: only the first rows.
        extra_labels: target → csv(.gz) with the columns id, value, for targets that are not among
            the columns of the split.

    Returns:
        {"targets": {target: `property_metrics` with "mae_train_median", "spread" (standard
        deviation of the labels)}, "unlabelled" (outputs of the head without labels here), "n",
        "encode_errors", …}.
    """
    table = read_split(dataset, split, data_dir=data_dir, limit=limit)
    labels = dict(table.labels)
    for target, path in (extra_labels or {}).items():
        values, _ = read_labels(path)
        labels[target] = np.array([values.get(name, np.nan) for name in table.ids])
    encoded = generator.encode_crystals(table.crystals)
    rows = [i for i, c in enumerate(encoded) if isinstance(c, CrystalCodes)]
    features = generator.features([c for c in encoded if isinstance(c, CrystalCodes)])
    wanted = {
        name: torch.from_numpy(values[rows]).float()
        for name, values in labels.items()
        if name in generator.head.targets
    }
    targets: dict[str, Any] = {
        name: dict(figures)
        for name, figures in property_metrics(generator.head, features, wanted).items()
    }
    for name, figures in targets.items():
        truth = wanted[name][~wanted[name].isnan()]
        figures["spread"] = truth.std().item()
        known = generator.bank.properties.get(name)
        if known is None:
            continue
        trained = known[generator.bank.rows("train")]
        if np.isfinite(trained).any():
            constant = float(np.nanmedian(trained))
            figures["mae_train_median"] = (truth - constant).abs().mean().item()
    return {
        "model": generator.name,
        "model_version": generator.version,
        "head_version": generator.head.version,
        "dataset": dataset,
        "split": split,
        "n": len(table),
        "encode_errors": len(table) - len(rows),
        "targets": targets,
        "unlabelled": [name for name in generator.head.targets if name not in targets],
        "protocol": PROTOCOL,
    }
