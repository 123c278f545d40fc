"""Crystals as the JSON of the data folder's ``structure`` columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.data.canonical import Crystal, check_crystal

DECIMALS = 6
"""Of cells (Å, degrees) and fractional coordinates, as in the data folder."""


def structure_text(
    vectors: ArrayLike, species: Sequence[str], coordinates: ArrayLike, *, cartesian: bool = False
) -> str:
    """Write a crystal given by its lattice vectors.

    A cell becomes lengths and angles, which do not tell left from right: a left-handed one gets two
    of its vectors exchanged, so that the crystal is not replaced by its mirror image.

    Args:
        vectors: (3, 3) lattice vectors as rows, Å.
        species: N symbols.
        coordinates: (N, 3), fractional.
        cartesian: They are Cartesian, in Å.

    Raises:
        ValueError: It is no crystal.
    """
    cell = np.asarray(vectors, dtype=np.float64)
    places: NDArray[np.float64] = np.asarray(coordinates, dtype=np.float64)
    if cell.shape != (3, 3) or places.shape != (len(species), 3):
        raise ValueError(f"{cell.shape} vectors, {len(species)} species, {places.shape} positions")
    if not (np.isfinite(cell).all() and np.isfinite(places).all()):
        raise ValueError("cell or positions are not finite numbers")
    volume = float(np.linalg.det(cell))
    if abs(volume) < 1e-6:
        raise ValueError("the cell has no volume")
    if cartesian:
        places = np.asarray(np.linalg.solve(cell.T, places.T).T, dtype=np.float64)
    if volume < 0:
        cell, places = cell[[1, 0, 2]], places[:, [1, 0, 2]]
    numbers = np.array([_atomic_number(symbol) for symbol in species], dtype=np.int64)
    return crystal_text(Crystal(numbers, places, _parameters(cell)), species)


def crystal_text(crystal: Crystal, species: Sequence[str] | None = None) -> str:
    """Write a crystal given by its cell parameters, as `model.data.formats` reads them.

    Args:
        crystal: The crystal.
        species: Its symbols, if they are known.

    Raises:
        ValueError: It is no crystal.
    """
    check_crystal(crystal)
    record = {
        "cell": np.round(crystal.cell, DECIMALS).tolist(),
        "species": list(species or map(_symbol, crystal.numbers.tolist())),
        "frac": np.round(crystal.frac, DECIMALS).tolist(),
    }
    return json.dumps(record, separators=(",", ":"))


def pymatgen_text(document: Mapping[str, Any]) -> str:
    """Write a crystal given as pymatgen's ``Structure.as_dict()``.

    Only the numbers are read: nothing that a file names is imported or called.

    Raises:
        ValueError, LookupError, TypeError: It is no ordered crystal.
    """
    species, places = [], []
    for number, site in enumerate(document["sites"], start=1):
        there = site["species"]
        if len(there) != 1 or float(there[0]["occu"]) != 1.0:
            raise ValueError(f"site {number} is partially occupied: order the crystal first")
        species.append(str(there[0]["element"]))
        places.append(site["abc"])
    return structure_text(document["lattice"]["matrix"], species, places)


def _parameters(cell: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return lengths (Å) and angles (degrees) of a cell's vectors."""
    lengths = np.linalg.norm(cell, axis=1)
    unit = cell / lengths[:, None]
    cosines = [float(unit[i] @ unit[j]) for i, j in ((1, 2), (0, 2), (0, 1))]
    return np.concatenate([lengths, np.degrees(np.arccos(np.clip(cosines, -1, 1)))])


@lru_cache(maxsize=256)
def _atomic_number(symbol: str) -> int:
    from pymatgen.core import Element

    try:
        return int(Element(symbol).Z)
    except ValueError:
        raise ValueError(f"{symbol!r} is not an element") from None


@lru_cache(maxsize=256)
def _symbol(number: int) -> str:
    from pymatgen.core import Element

    return str(Element.from_Z(number).symbol)
