"""Reading the tables of the data folder: their rows and their crystals."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
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
