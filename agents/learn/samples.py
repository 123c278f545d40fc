"""Labelled crystals as arrays: features of the frozen generator beside one column per target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from model.codes import CrystalCodes
    from model.generator import Generator


@dataclass(frozen=True)
class Samples:
    """Crystals with labels of several targets; a missing label is NaN.

    Attributes:
        features: (n, F), what the head reads.
        values: {``property@level``: (n,)} in the target's own unit.
    """

    features: torch.Tensor
    values: dict[str, NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.features)

    def take(self, rows: NDArray[np.intp]) -> Samples:
        """Return some of the crystals."""
        return Samples(self.features[rows], {name: v[rows] for name, v in self.values.items()})

    def columns(self, targets: Sequence[str]) -> NDArray[np.float64]:
        """Return the labels as (T, n), in the order of `targets`; NaN for what is unknown."""
        missing = np.full(len(self), np.nan)
        return np.stack([self.values.get(target, missing) for target in targets])

    def labelled(self, target: str) -> NDArray[np.intp]:
        """Return the rows that have a label of a target."""
        if target not in self.values:
            return np.empty(0, dtype=np.intp)
        return np.flatnonzero(~np.isnan(self.values[target]))


def from_codes(
    generator: Generator, codes: Sequence[CrystalCodes], values: dict[str, NDArray[np.float64]]
) -> Samples:
    """Compute the features of crystals given as codes."""
    import torch

    if not codes:
        return Samples(torch.empty(0, generator.head.n_features), values)
    return Samples(generator.features(codes), values)


def bank_digests(generator: Generator, role: str) -> set[str]:
    """Return the digests of the code bank's crystals of a role, "train" or "val"."""
    bank = generator.bank
    return {bank.codes(int(row)).digest() for row in bank.rows(role)}


def from_bank(generator: Generator, rows: NDArray[np.intp]) -> Samples:
    """Take crystals of the code bank with all their labels.

    Args:
        generator: The generator with its code bank.
        rows: Row numbers.
    """
    bank = generator.bank
    values = {name: column[rows] for name, column in bank.properties.items()}
    return from_codes(generator, [bank.codes(int(row)) for row in rows], values)
