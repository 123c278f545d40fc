"""Crystal data sets: splits read from CSV into crystals, labels and a content hash."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.data.canonical import MAX_ATOMIC_NUMBER, Crystal
from model.errors import MissingDataset

SPLITS = ("train", "val", "test")
_CLEAN_CASTELLI = ("direct", "elimination", "tie")


@dataclass(frozen=True)
class CrystalTable:
    """One split of a data set.

    Attributes:
        ids: identifiers as strings.
        formulas: reduced formulas (pymatgen's).
        crystals: the crystals, in the order of the file.
        labels: {"property@level": (n,) values, NaN where there is no clean label}.
        sha256: of the file.
        skipped: rows that could not be read, as (id, reason).
    """

    ids: list[str]
    formulas: list[str]
    crystals: list[Crystal]
    labels: dict[str, NDArray[np.float64]]
    sha256: str
    skipped: list[tuple[str, str]]

    def __len__(self) -> int:
        return len(self.ids)


def _castelli(row: Mapping[str, str]) -> float:
    """Return the heat of formation where its label is clean, eV/atom.

    The column's name says per cell, but its values are per atom: of the cubic phases LaAlO3 has
    -0.1, BaZrO3 -0.28, NaNbO3 -0.32, KNbO3 -0.42, their heats of formation from oxides per atom.
    """
    if row["e_form_how"] not in _CLEAN_CASTELLI or not row["e_form_castelli_eV_per_cell"]:
        return float("nan")
    return float(row["e_form_castelli_eV_per_cell"])


def _column(name: str) -> Callable[[Mapping[str, str]], float]:
    """Return a reader of one column, NaN where it is empty."""
    return lambda row: float(row[name]) if row[name] else float("nan")


LABELS: dict[str, dict[str, Callable[[Mapping[str, str]], float]]] = {
    "perov5": {"formation_energy_per_atom@castelli2012": _castelli},
    "carbon24": {},
    "mp20": {
        "formation_energy_per_atom@mp20": _column("formation_energy_per_atom"),
        "band_gap@mp20": _column("band_gap"),
    },
    "c2db": {
        "formation_energy_per_atom@c2db": _column("formation_energy_per_atom"),
        "band_gap@c2db": _column("band_gap"),
    },
}
"""Data set → target → how to read it from a row (eV/atom). Castelli et al. 2012,
doi 10.1039/c1ee02717d: GPAW, RPBE, relative to the pool of competing phases and not to the
elements, so a level of its own that no window of formation energies applies to."""


def read_split(
    dataset: str, split: str, *, data_dir: Path, limit: int | None = None
) -> CrystalTable:
    """Read a split.

    Args:
        dataset: name, e.g. "perov5".
        split: "train", "val" or "test".
        data_dir: directory of the csv.gz files.
        limit: read only the first rows.

    Raises:
        ValueError: if data set or split is unknown.
        MissingDataset: if the file is not there.
    """
    if dataset not in LABELS:
        raise ValueError(f"unknown data set {dataset!r}; known: {', '.join(LABELS)}")
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    payload = _read(data_dir / f"{dataset}_{split}.csv.gz")
    readers = LABELS[dataset]
    ids: list[str] = []
    formulas: list[str] = []
    crystals: list[Crystal] = []
    skipped: list[tuple[str, str]] = []
    labels: dict[str, list[float]] = {name: [] for name in readers}
    for row in csv.DictReader(io.StringIO(gzip.decompress(payload).decode())):
        if limit is not None and len(ids) >= limit:
            break
        try:
            crystal = _crystal(row["structure"])
        except (ValueError, KeyError, TypeError) as error:
            skipped.append((row["material_id"], f"{type(error).__name__}: {error}"))
            continue
        ids.append(row["material_id"])
        formulas.append(_reduced_formula(crystal))
        crystals.append(crystal)
        for name, read in readers.items():
            labels[name].append(read(row))
    return CrystalTable(
        ids=ids,
        formulas=formulas,
        crystals=crystals,
        labels={name: np.asarray(values) for name, values in labels.items()},
        sha256=hashlib.sha256(payload).hexdigest(),
        skipped=skipped,
    )


def read_labels(path: Path) -> tuple[dict[str, float], str]:
    """Read extra labels from a csv or csv.gz with the columns id, value.

    Returns:
        ({id: value}, sha256 of the file). Empty values are left out.

    Raises:
        MissingDataset: if there is no such file.
        ValueError: if a column is missing or a value is not a number.
    """
    payload = _read(path)
    text = (gzip.decompress(payload) if path.suffix == ".gz" else payload).decode()
    reader = csv.DictReader(io.StringIO(text))
    if not {"id", "value"} <= set(reader.fieldnames or ()):
        raise ValueError(f"{path} needs the columns id and value, it has {reader.fieldnames}")
    values = {row["id"]: float(row["value"]) for row in reader if row["value"]}
    return values, hashlib.sha256(payload).hexdigest()


def _read(path: Path) -> bytes:
    """Return a file's bytes, or say which file is missing."""
    if not path.is_file():
        raise MissingDataset(f"there is no {path}; set DISCOVERY_DATA to the data directory")
    return path.read_bytes()


def _crystal(text: str) -> Crystal:
    """Read the JSON of a structure column."""
    from pymatgen.core import Element

    data = json.loads(text)
    crystal = Crystal(
        numbers=np.array([Element(symbol).Z for symbol in data["species"]], dtype=np.int64),
        frac=np.array(data["frac"], dtype=np.float64),
        cell=np.array(data["cell"], dtype=np.float64),
    )
    n = len(crystal.numbers)
    if n == 0 or crystal.frac.shape != (n, 3) or crystal.cell.shape != (6,):
        raise ValueError("species, coordinates and cell do not fit together")
    if crystal.numbers.max() > MAX_ATOMIC_NUMBER:
        raise ValueError(f"element beyond Z = {MAX_ATOMIC_NUMBER}")
    if not (np.isfinite(crystal.frac).all() and np.isfinite(crystal.cell).all()):
        raise ValueError("coordinates or cell are not finite")
    return crystal


def _reduced_formula(crystal: Crystal) -> str:
    """Return pymatgen's reduced formula."""
    from pymatgen.core import Composition, Element

    numbers, counts = np.unique(crystal.numbers, return_counts=True)
    amounts = {Element.from_Z(int(z)): int(c) for z, c in zip(numbers, counts)}
    formula: str = Composition(amounts).reduced_formula
    return formula
