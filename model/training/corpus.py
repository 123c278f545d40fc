"""What a network is trained and judged on: two splits, their labels, the rows that fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.data.dataset import CrystalTable, read_labels, read_split
from model.data.sources import read_source
from model.settings import TrainConfig


@dataclass(frozen=True)
class Corpus:
    """The data of one training.

    Attributes:
        tables: "train" and "val", with the extra labels.
        kept: rows of each that the network has room for.
        label_hashes: sha256 of each extra label file, by target.
    """

    tables: dict[str, CrystalTable]
    kept: dict[str, list[int]]
    label_hashes: dict[str, str]

    @property
    def hashes(self) -> dict[str, str]:
        """The sha256 of every file, by what it is."""
        tables = {role: table.sha256 for role, table in self.tables.items()}
        return tables | {f"labels of {k}": v for k, v in self.label_hashes.items()}

    def training_labels(self) -> Tensor:
        """Return (n, T) labels of the training rows, mean 0 and deviation 1, NaN where unknown.

        Raises:
            ValueError: if a property has fewer than two labels.
        """
        return _standardised(self.tables["train"].labels, self.kept["train"])


def read_corpus(config: TrainConfig, data_dir: Path) -> Corpus:
    """Read the data a configuration names.

    Raises:
        MissingDataset: if a data or label file is missing.
        ValueError: if labels or crystals cannot be used.
    """
    tables = {role: _read(config, role, data_dir) for role in ("train", "val")}
    label_hashes = {}
    for target, path in config.extra_labels.items():
        values, label_hashes[target] = read_labels(path)
        for table in tables.values():
            table.labels[target] = np.array([values.get(i, np.nan) for i in table.ids])
    kept = {role: _usable(table, config) for role, table in tables.items()}
    return Corpus(tables=tables, kept=kept, label_hashes=label_hashes)


def _read(config: TrainConfig, role: str, data_dir: Path) -> CrystalTable:
    """Read "train" or "val" of a published data set or of own crystals."""
    if config.data is None:
        return read_split(config.dataset, role, data_dir=data_dir, limit=config.limit)
    source = {"train": config.data.train, "val": config.data.val}[role]
    return read_source(source, labels=config.data.labels, limit=config.limit)


def _usable(table: CrystalTable, config: TrainConfig) -> list[int]:
    """Return the rows the network has room for."""
    rows = [
        i
        for i, crystal in enumerate(table.crystals)
        if len(crystal.numbers) <= config.max_atoms
        and len(set(crystal.numbers.tolist())) <= config.max_species
    ]
    if len(rows) < 2:
        raise ValueError(
            f"only {len(rows)} of {len(table)} crystals have at most {config.max_atoms} "
            f"atoms and {config.max_species} elements"
        )
    return rows


def _standardised(labels: Mapping[str, np.ndarray], rows: list[int]) -> Tensor:
    """Return (n, T) labels with mean 0 and deviation 1, NaN where unknown."""
    columns = []
    for name, values in labels.items():
        own = torch.from_numpy(values[rows]).float()
        known = own[~own.isnan()]
        if len(known) < 2:
            raise ValueError(f"{name} has {len(known)} labels on the training crystals")
        columns.append((own - known.mean()) / known.std().clamp(min=1e-6))
    return torch.stack(columns, -1) if columns else torch.zeros(len(rows), 0)
