"""Tables of crystals, as every source is read into."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data.canonical import Crystal

LabelReader = Callable[[Mapping[str, Any]], float]
"""Reads a label from the values beside a crystal; NaN where there is none."""


@dataclass(frozen=True)
class CrystalTable:
    """Crystals of one source, for instance one split of a data set.

    Attributes:
        ids: identifiers as strings.
        formulas: reduced formulas (pymatgen's).
        crystals: the crystals, in the order of the source.
        labels: {"property@level": (n,) values, NaN where there is no clean label}.
        sha256: of the source.
        skipped: entries that could not be read, as (id, reason).
    """

    ids: list[str]
    formulas: list[str]
    crystals: list[Crystal]
    labels: dict[str, NDArray[np.float64]]
    sha256: str
    skipped: list[tuple[str, str]]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Entry:
    """One entry of a source.

    Attributes:
        id: its identifier.
        crystal: the crystal, or why there is none.
        values: what stands beside it, by name: columns, info keys, key-value pairs.
    """

    id: str
    crystal: Crystal | str
    values: Mapping[str, Any] = field(default_factory=dict)


def collect(
    entries: Iterable[Entry],
    labels: Mapping[str, LabelReader],
    *,
    sha256: str,
    limit: int | None = None,
) -> CrystalTable:
    """Make a table of entries, in their order.

    Args:
        entries: read only as far as needed.
        labels: target → how to read it.
        sha256: of the source.
        limit: stop after this many crystals.
    """
    ids: list[str] = []
    crystals: list[Crystal] = []
    skipped: list[tuple[str, str]] = []
    columns: dict[str, list[float]] = {target: [] for target in labels}
    for entry in entries:
        if limit is not None and len(ids) >= limit:
            break
        if isinstance(entry.crystal, str):
            skipped.append((entry.id, entry.crystal))
            continue
        ids.append(entry.id)
        crystals.append(entry.crystal)
        for target, read in labels.items():
            columns[target].append(read(entry.values))
    return CrystalTable(
        ids=ids,
        formulas=[reduced_formula(crystal) for crystal in crystals],
        crystals=crystals,
        labels={target: np.asarray(values, dtype=float) for target, values in columns.items()},
        sha256=sha256,
        skipped=skipped,
    )


def crystals_hash(crystals: Sequence[Crystal]) -> str:
    """Return the SHA-256 of crystals' atoms, coordinates, cells and their order."""
    digest = hashlib.sha256()
    for crystal in crystals:
        digest.update(len(crystal.numbers).to_bytes(8, "little"))
        digest.update(np.ascontiguousarray(crystal.numbers, dtype="<i8").tobytes())
        digest.update(np.ascontiguousarray(crystal.frac, dtype="<f8").tobytes())
        digest.update(np.ascontiguousarray(crystal.cell, dtype="<f8").tobytes())
    return digest.hexdigest()


def reduced_formula(crystal: Crystal) -> str:
    """Return pymatgen's reduced formula."""
    from pymatgen.core import Composition

    numbers, counts = np.unique(crystal.numbers, return_counts=True)
    amounts = {_symbol(z): n for z, n in zip(numbers.tolist(), counts.tolist())}
    formula: str = Composition(amounts).reduced_formula
    return formula


@lru_cache(maxsize=128)
def _symbol(number: int) -> str:
    from pymatgen.core import Element

    return str(Element.from_Z(number).symbol)
