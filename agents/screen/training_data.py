"""Labelled crystals as graphs, for training a screen."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from agents.screen.alignn_graph import BondGraph, build_graph
from agents.screen.alignn_network import MOST_PROTONS
from agents.tables import parse_structure

SPLIT_COLUMN = "megnet_split"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class About:
    """What a card says of a table.

    Attributes:
        name: For a person.
        level: Level of theory of the labels, as in the predictions.
        functional: The same in words.
        split: Whose split it is.
        licence: And whom to cite.
    """

    name: str
    level: str
    functional: str
    split: str
    licence: str


_KNOWN = {
    "mp2018_megnet": About(
        name="MP 2018.6.1",
        level="pbe-mp2018",
        functional="PBE and PBE+U with the Materials Project's corrections of 2018",
        split="the table's own column megnet_split",
        licence="Materials Project, CC BY 4.0 (doi 10.1063/1.4812323)",
    )
}


def described(dataset: str) -> About:
    """Return what is known of a table.

    Raises:
        ValueError: Nothing is: a card that cannot name its level of theory is not written.
    """
    if dataset not in _KNOWN:
        raise ValueError(f"unknown data set {dataset!r}: known are {', '.join(_KNOWN)}")
    return _KNOWN[dataset]


@dataclass(frozen=True)
class LabelledGraphs:
    """n crystals of one split.

    Attributes:
        ids: Identifiers.
        graphs: Graphs, in memory for the whole training (8 kB each).
        labels: (n, P) float32.
    """

    ids: tuple[str, ...]
    graphs: tuple[BondGraph, ...]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def at_most(self, atoms: int) -> LabelledGraphs:
        """Return those with at most so many atoms."""
        return self._select(
            [i for i, graph in enumerate(self.graphs) if len(graph.atomic_numbers) <= atoms]
        )

    def first(self, rows: int) -> LabelledGraphs:
        """Return the first rows."""
        return self._select(range(min(rows, len(self))))

    def _select(self, rows: Sequence[int]) -> LabelledGraphs:
        return LabelledGraphs(
            tuple(self.ids[i] for i in rows),
            tuple(self.graphs[i] for i in rows),
            self.labels[list(rows)],
        )

    def composition(self) -> Tensor:
        """Return (n, 101): the fraction of each element, by atomic number."""
        counts = np.stack(
            [np.bincount(g.atomic_numbers, minlength=MOST_PROTONS + 1) for g in self.graphs]
        )
        fractions = torch.as_tensor(counts, dtype=torch.float64)
        return fractions / fractions.sum(dim=1, keepdim=True)


@dataclass(frozen=True)
class ScreenData:
    """The splits of a table.

    Attributes:
        splits: By name.
        isolated: Rows left out because an atom has no bond.
        sha256: Of the table.
    """

    splits: dict[str, LabelledGraphs]
    isolated: int
    sha256: str


def read_screen_data(
    path: Path,
    properties: Sequence[str],
    cutoff: float,
    *,
    splits: Sequence[str] = SPLITS,
    max_rows: int | None = None,
) -> ScreenData:
    """Read a table and build the graphs of its crystals, about 0.6 ms each.

    Args:
        path: CSV with columns ``material_id``, ``megnet_split``, ``structure`` and the properties.
        properties: Columns of the labels.
        cutoff: Longest bond (Å).
        splits: Which to read.
        max_rows: Of each split, the first ones; None reads all.

    Returns:
        The splits.

    Raises:
        ValueError: A column is missing or a label is no number.
    """
    import pandas as pd

    # "NaN" is sodium nitride, not a missing value
    table = pd.read_csv(path, keep_default_na=False, dtype=dict.fromkeys(properties, float))
    missing = {"material_id", "structure", SPLIT_COLUMN, *properties} - set(table.columns)
    if missing:
        raise ValueError(f"{path} has no column {', '.join(sorted(missing))}")
    read: dict[str, LabelledGraphs] = {}
    isolated = 0
    for split in splits:
        rows = table[table[SPLIT_COLUMN] == split].iloc[:max_rows]
        graphs = [build_graph(parse_structure(text), cutoff) for text in rows["structure"]]
        kept = [i for i, graph in enumerate(graphs) if not graph.isolated]
        isolated += len(graphs) - len(kept)
        labels = rows[list(properties)].to_numpy(dtype=np.float32)[kept]
        read[split] = LabelledGraphs(
            tuple(rows["material_id"].iloc[kept]),
            tuple(graphs[i] for i in kept),
            torch.from_numpy(labels),
        )
    return ScreenData(read, isolated, hashlib.sha256(path.read_bytes()).hexdigest())


def fit_linear_part(data: LabelledGraphs) -> tuple[Tensor, Tensor]:
    """Fit every property by a sum over the elements, and measure what is left.

    Args:
        data: Training crystals.

    Returns:
        (101, P) shares of the elements (0 for those that do not occur), and (P,) standard
        deviations of what is left, both float32.
    """
    composition, labels = data.composition(), data.labels.double()
    ridge = 1e-6 * len(data) * torch.eye(composition.shape[1], dtype=torch.float64)
    shares = torch.linalg.solve(composition.T @ composition + ridge, composition.T @ labels)
    left = labels - composition @ shares
    return shares.float(), left.std(dim=0).float()
