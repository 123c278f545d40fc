"""Reading the tables of the data folder: their rows and their crystals."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymatgen.core import Structure


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a `csv.gz` data file as text ("NaN" stays sodium nitride)."""
    csv.field_size_limit(1 << 24)
    with gzip.open(path, "rt", newline="") as stream:
        yield from csv.DictReader(stream)


def parse_structure(text: str) -> Structure:
    """Return the crystal of a data file's `structure` column.

    Args:
        text: JSON `{"cell": [a, b, c, alpha, beta, gamma], "species": [...], "frac": [...]}`, in Å
            and degrees.
    """
    from pymatgen.core import Lattice, Structure

    record: dict[str, Any] = json.loads(text)
    return Structure(Lattice.from_parameters(*record["cell"]), record["species"], record["frac"])


def structure_reader(path: Path) -> Callable[[str], Structure]:
    """Return what reads the `structure` column of a table.

    Args:
        path: The table; those of C2DB have coordinates of their own (`model.data.c2db`).
    """
    from model.data.c2db import TABLES

    return _parse_oblique if path.name in TABLES else parse_structure


def _parse_oblique(text: str) -> Structure:
    import numpy as np
    from pymatgen.core import Lattice, Structure

    from model.data.c2db import fractional

    record: dict[str, Any] = json.loads(text)
    cell = np.array(record["cell"], dtype=float)
    frac = fractional(np.array(record["frac"], dtype=float), cell)
    return Structure(Lattice.from_parameters(*cell), record["species"], frac)
