"""The canonical form of a crystal: one origin and one atom order for all ways to write it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from model.errors import UnencodableCrystal

if TYPE_CHECKING:
    from pymatgen.core import Structure

MAX_ATOMIC_NUMBER = 100
_ORDER_GRID = 100  # coordinates are compared on a grid of 1/100 of the cell when ordering
_MIN_VOLUME = 1e-3  # Å^3: below this there is no cell
_MIN_LENGTH, _MAX_LENGTH = 0.1, 1000.0  # Å: beyond these a decoded edge is nonsense


@dataclass(frozen=True)
class Crystal:
    """A crystal as arrays.

    Attributes:
        numbers: (N,) atomic numbers.
        frac: (N, 3) fractional coordinates.
        cell: (6,) a, b, c in Å and alpha, beta, gamma in degrees.
    """

    numbers: NDArray[np.int64]
    frac: NDArray[np.float64]
    cell: NDArray[np.float64]


@dataclass(frozen=True)
class CanonicalCrystal(Crystal):
    """A crystal in canonical form; `ranks` (N,) numbers its elements by electronegativity."""

    ranks: NDArray[np.int64]


@lru_cache(maxsize=1)
def _electronegativity_order() -> NDArray[np.float64]:
    """Return a sort key per atomic number: Pauling electronegativity, then the number itself."""
    from pymatgen.core import Element

    key = np.zeros(MAX_ATOMIC_NUMBER + 1)
    for z in range(1, MAX_ATOMIC_NUMBER + 1):
        data = Element.from_Z(z).data.get("X")
        key[z] = (float(data) if isinstance(data, int | float) else 0.0) * 1000 + z * 0.01
    return key


def canonical(crystal: Crystal) -> CanonicalCrystal:
    """Bring a crystal into canonical form; the cell stays as it is.

    Elements are ranked by electronegativity. An atom of the rarest element (the least
    electronegative of these) becomes the origin; among several, the one whose sorted list of
    coordinates is lexicographically smallest. Atoms are ordered by rank, then coordinates.

    Args:
        crystal: N atoms, atomic numbers 1 to 100.

    Returns:
        The same crystal, translated, wrapped to [0, 1) and reordered.
    """
    key = _electronegativity_order()
    elements = np.array(sorted(set(crystal.numbers.tolist()), key=lambda z: key[z]))
    rank_of = np.zeros(MAX_ATOMIC_NUMBER + 1, dtype=np.int64)
    rank_of[elements] = np.arange(len(elements))
    ranks = rank_of[crystal.numbers]
    rarest = int(np.argmin(np.bincount(ranks)))
    best: tuple[tuple[int, ...], NDArray[np.intp], NDArray[np.float64]] | None = None
    for origin in np.flatnonzero(ranks == rarest):
        shifted = (crystal.frac - crystal.frac[origin]) % 1.0
        grid = np.rint(shifted * _ORDER_GRID).astype(np.int64) % _ORDER_GRID
        order = np.lexsort((grid[:, 2], grid[:, 1], grid[:, 0], ranks))
        coordinates = tuple(grid[order].ravel().tolist())
        if best is None or coordinates < best[0]:
            best = (coordinates, order, shifted)
    assert best is not None  # every element has an atom
    _, order, shifted = best
    return CanonicalCrystal(
        numbers=crystal.numbers[order],
        frac=shifted[order],
        cell=crystal.cell,
        ranks=ranks[order],
    )


def check_crystal(crystal: Crystal) -> None:
    """Refuse arrays that are no crystal.

    Raises:
        UnencodableCrystal: if shapes do not fit together, an element is beyond Z = 100, values
            are not finite, or the cell has no volume.
    """
    n = len(crystal.numbers)
    if n == 0:
        raise UnencodableCrystal("the structure has no atoms")
    if crystal.frac.shape != (n, 3) or crystal.cell.shape != (6,):
        raise UnencodableCrystal("species, coordinates and cell do not fit together")
    if crystal.numbers.min() < 1 or crystal.numbers.max() > MAX_ATOMIC_NUMBER:
        raise UnencodableCrystal(f"an atom is no element of Z = 1 to {MAX_ATOMIC_NUMBER}")
    if not (np.isfinite(crystal.frac).all() and np.isfinite(crystal.cell).all()):
        raise UnencodableCrystal("coordinates or cell are not finite")
    lengths, angles = crystal.cell[:3], crystal.cell[3:]
    if lengths.min() <= 0 or angles.min() <= 0 or angles.max() >= 180:
        raise UnencodableCrystal(f"{crystal.cell.tolist()} (Å, degrees) is no cell")
    volume = lengths.prod() * np.sqrt(max(_gram(angles), 0.0))
    if volume < _MIN_VOLUME:
        raise UnencodableCrystal(f"the cell {crystal.cell.tolist()} (Å, degrees) has no volume")


def _gram(angles: NDArray[np.float64]) -> float:
    """Return the squared volume of a cell of edges 1 and these angles (degrees)."""
    cosines = np.cos(np.radians(angles))
    return float(1 + 2 * cosines.prod() - (cosines**2).sum())


def crystal_from_structure(structure: Structure) -> Crystal:
    """Read a pymatgen structure.

    The cell is kept as lengths and angles, so a left-handed cell comes back as its mirror image.

    Raises:
        UnencodableCrystal: for partial occupancies, species that are not elements, no atoms,
            values that are not finite, or a cell without volume.
    """
    from pymatgen.core import DummySpecies, Element, Species

    if len(structure) == 0:
        raise UnencodableCrystal("the structure has no atoms")
    if not structure.is_ordered:
        raise UnencodableCrystal(f"{structure.formula} has partial occupancies")
    numbers = []
    for site in structure:
        kind = site.specie
        is_element = isinstance(kind, Element | Species) and not isinstance(kind, DummySpecies)
        if not is_element or kind.Z > MAX_ATOMIC_NUMBER:
            raise UnencodableCrystal(f"{kind} is not an element up to Z = {MAX_ATOMIC_NUMBER}")
        numbers.append(kind.Z)
    frac = np.asarray(structure.frac_coords, dtype=np.float64)
    cell = np.asarray(structure.lattice.parameters, dtype=np.float64)
    crystal = Crystal(numbers=np.asarray(numbers, dtype=np.int64), frac=frac, cell=cell)
    check_crystal(crystal)
    return crystal


def impossible_cell(frac: NDArray[np.float64], cell: NDArray[np.float64]) -> str | None:
    """Return why no structure can be built from arrays, or None.

    Args:
        frac: (N, 3) fractional coordinates.
        cell: (6,) Å and degrees.
    """
    if not (np.isfinite(cell).all() and np.isfinite(frac).all()):
        return "decoded cell or coordinates are not finite"
    if cell[:3].min() < _MIN_LENGTH or cell[:3].max() > _MAX_LENGTH:
        return f"decoded cell edges {np.round(cell[:3], 3).tolist()} Å are impossible"
    gram = _gram(cell[3:])
    if cell[3:].min() <= 0 or cell[3:].max() >= 180 or gram <= 0:
        return f"decoded angles {np.round(cell[3:], 2).tolist()} span no cell"
    if cell[:3].prod() * np.sqrt(gram) < _MIN_VOLUME:
        return "decoded cell has no volume"
    return None


def structure_from_arrays(
    numbers: NDArray[np.int64], frac: NDArray[np.float64], cell: NDArray[np.float64]
) -> tuple[Structure | None, str | None]:
    """Build a pymatgen structure, or say why that is impossible.

    Args:
        numbers: (N,) atomic numbers.
        frac: (N, 3) fractional coordinates.
        cell: (6,) Å and degrees.

    Returns:
        (structure, None) or (None, reason).
    """
    from pymatgen.core import Element, Lattice, Structure

    error = impossible_cell(frac, cell)
    if error is not None:
        return None, error
    lattice = Lattice.from_parameters(*cell.tolist())
    return Structure(lattice, [Element.from_Z(z) for z in numbers.tolist()], frac), None
