"""Labelling a data set with a potential: single-point formation energies."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agents.tables import read_rows, structure_reader

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from agents.relax.potential import Potential
    from agents.relax.references import ElementalReferences

BATCH = 256


def label_dataset(
    potential: Potential,
    references: ElementalReferences,
    data_dir: Path,
    out: Path,
    *,
    dataset: str = "perov5",
    splits: Sequence[str] = ("train", "val"),
    limit: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Write the formation energy of every crystal of a data set as the potential sees it.

    Crystals with elements outside the potential's domain, and those whose energy is not finite,
    are left out: a missing label is no label.

    Args:
        potential: the potential.
        references: its elemental references.
        data_dir: folder with `{dataset}_{split}.csv.gz`.
        out: the csv.gz to write, columns `id` (the data set's `material_id`) and `value` (eV/atom).
        dataset: "perov5", "mp20", ...
        splits: the splits to label; test splits are left alone by default.
        limit: at most so many crystals of each split.
        progress: told the number of labels after each batch.

    Returns:
        Number of labels written.
    """
    written = 0
    out.parent.mkdir(parents=True, exist_ok=True)
    # mtime=0: the same labels give the same bytes
    with (
        open(out, "wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="") as text,
    ):
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["id", "value"])
        for split in splits:
            path = data_dir / f"{dataset}_{split}.csv.gz"
            read, rows = structure_reader(path), islice(read_rows(path), limit)
            while batch := list(islice(rows, BATCH)):
                for identifier, value in _label(potential, references, batch, read):
                    table.writerow([identifier, f"{value:.6f}"])
                    written += 1
                progress(written)
    return written


def _label(
    potential: Potential,
    references: ElementalReferences,
    rows: Sequence[dict[str, str]],
    read: Callable[[str], Structure],
) -> list[tuple[str, float]]:
    known = potential.elements & references.elements
    ids, structures = [], []
    for row in rows:
        structure = read(row["structure"])
        if {site.specie.symbol for site in structure} <= known:
            ids.append(row["material_id"])
            structures.append(structure)
    energies = potential.energies(structures) if structures else np.empty(0)
    return [
        (identifier, references.formation_energy_per_atom(structure.composition, energy))
        for identifier, structure, energy in zip(ids, structures, energies)
        if np.isfinite(energy)
    ]
