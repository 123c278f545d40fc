"""The data sets of the field: splits read from CSV into crystals, labels and a content hash."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.data.c2db import repaired
from model.data.formats import read_csv
from model.data.table import CrystalTable, LabelReader, collect
from model.errors import MissingDataset

__all__ = ["CrystalTable", "LABELS", "SPLITS", "read_labels", "read_split"]

SPLITS = ("train", "val", "test")
_CLEAN_CASTELLI = ("direct", "elimination", "tie")


def _castelli(row: Mapping[str, Any]) -> float:
    """Return the heat of formation where its label is clean, eV/atom.

    The column's name says per cell, but its values are per atom: of the cubic phases LaAlO3 has
    -0.1, BaZrO3 -0.28, NaNbO3 -0.32, KNbO3 -0.42, their heats of formation from oxides per atom.
    """
    if row["e_form_how"] not in _CLEAN_CASTELLI or not row["e_form_castelli_eV_per_cell"]:
        return float("nan")
    return float(row["e_form_castelli_eV_per_cell"])


def _column(name: str) -> LabelReader:
    """Return a reader of one column, NaN where it is empty."""
    return lambda row: float(row[name]) if row[name] else float("nan")


LABELS: dict[str, dict[str, LabelReader]] = {
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
    table = collect(
        read_csv(gzip.decompress(payload).decode(), f"{dataset}_{split}.csv.gz"),
        LABELS[dataset],
        sha256=hashlib.sha256(payload).hexdigest(),
        limit=limit,
    )
    if dataset == "c2db":  # whose oblique cells are written otherwise
        table = replace(table, crystals=[repaired(crystal) for crystal in table.crystals])
    return table


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
