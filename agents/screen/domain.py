"""Is a crystal like those a model learned from?

A trained model answers for any crystal, far from its training data too. So every prediction says
whether the crystal lies in the model's domain and, if not, why. Four questions, each answered from
the training set alone:

- *elements*: did the model see this element, in ten crystals or more?
- *size*: is the primitive cell larger than every training cell?
- *vacuum*: a model of bulk crystals was shown no slabs. Within its cut-off a slab looks like bulk,
  so it answers, and the answer means nothing. Called one is a crystal with more than 5 Å of empty
  space between two lattice planes; the dimensionality of its bonded network is named (Larsen et
  al., doi 10.1103/PhysRevMaterials.3.034003). MP 2018.6.1 does hold 854 slabs among
  15,131 rows looked at, but 792 of them are (Mo,W)(S,Se,Te)2.
- *composition*: how far is the nearest training composition? The measure is the earth mover's
  distance on Pettifor's scale of the elements (doi 10.1016/0038-1098(84)90765-8): how many places
  an average atom has to move on it to become that composition. Replacing all of Na by K in NaCl
  costs 0.5.

The two limits come from held-out crystals: see `MAX_VACUUM` and `MAX_DISTANCE`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pymatgen.core import Composition, Structure

MP2018 = Path(__file__).parent / "data" / "mp2018_training.npz"
"""Compositions, elements and cell sizes of MP 2018.6.1's training rows; built by
tools/build_screen_domain.py. Materials Project, CC BY 4.0 (doi 10.1063/1.4812323)."""

MAX_VACUUM = 5.0
"""Å. 0.1 % of the 4,853 held-out crystals with their own structures of 2018 have more; the thinnest
vacuum of 500 slabs of C2DB is 11.9."""
MAX_DISTANCE = 2.1
"""Places on Pettifor's scale per atom: 99 % of 6,820 held-out crystals are nearer."""
MIN_CRYSTALS = 10
"""Training crystals an element needs before a model is said to know it."""

_PLACES = 103
_BOND = 1.35
"""With this factor 46 of 50 slabs of C2DB are called two-dimensional (with 1.25: 44)."""


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """What is remembered of a model's training crystals.

    Attributes:
        name: Name of the set, as in the reasons.
        numbers: (M,) atomic numbers of all compositions, one composition after the other.
        amounts: (M,) how many of each.
        starts: (C,) where each composition begins.
        crystals: (104,) training crystals with each atomic number.
        largest: Most atoms in a training cell.
        bulk: True where no crystal of the set has a vacuum.
    """

    name: str
    numbers: np.ndarray
    amounts: np.ndarray
    starts: np.ndarray
    crystals: np.ndarray
    largest: int
    bulk: bool = True

    @classmethod
    def load(cls, path: Path, name: str) -> TrainingSet:
        """Read a table written by `save`."""
        with np.load(path, allow_pickle=False) as table:
            return cls(
                name,
                table["numbers"].astype(int),
                table["amounts"].astype(float),
                table["starts"].astype(int),
                table["crystals"].astype(int),
                int(table["largest"]),
            )

    def save(self, path: Path) -> None:
        """Write the table, small enough to ship."""
        np.savez_compressed(
            path,
            numbers=self.numbers.astype(np.uint8),
            amounts=self.amounts.astype(np.uint16),
            starts=self.starts.astype(np.uint32),
            crystals=self.crystals.astype(np.uint32),
            largest=np.uint32(self.largest),
        )

    def reasons(self, structure: Structure, *, elements: bool = True) -> tuple[str, ...]:
        """Say why a crystal is out of the domain of a model trained on this set.

        Args:
            structure: A crystal.
            elements: False where the model itself knows better which elements it learned.

        Returns:
            One sentence for each reason, beginning with ``elements:``, ``size:``, ``vacuum:`` or
            ``composition:``; empty inside the domain.
        """
        found = []
        if elements and (unknown := self.unknown_elements(structure)):
            found.append(
                f"elements: {', '.join(unknown)} in fewer than {MIN_CRYSTALS} crystals of "
                f"{self.name}"
            )
        if len(structure) > self.largest and (atoms := _primitive_size(structure)) > self.largest:
            found.append(
                f"size: {atoms} atoms in the primitive cell, at most {self.largest} in {self.name}"
            )
        if self.bulk and (empty := vacuum(structure)) > MAX_VACUUM:
            found.append(
                f"vacuum: {empty:.1f} Å of vacuum around a {dimensionality(structure)}D network, "
                f"{self.name} has bulk crystals"
            )
        distance = self.distance(structure.composition)
        if distance > MAX_DISTANCE:
            found.append(
                f"composition: {distance:.1f} places on Pettifor's scale from the nearest of "
                f"{self.name}, at most {MAX_DISTANCE:g}"
            )
        return tuple(found)

    def unknown_elements(self, structure: Structure) -> list[str]:
        """Return the symbols of elements in fewer than `MIN_CRYSTALS` training crystals."""
        return [
            element.symbol
            for element in sorted(structure.composition.elements)
            if element.Z > _PLACES or self.crystals[element.Z] < MIN_CRYSTALS
        ]

    def knows(self, composition: Composition) -> bool:
        """Say whether a composition gives no reason by its elements or its distance."""
        numbers = [element.Z for element in composition.elements]
        if any(number > _PLACES or self.crystals[number] < MIN_CRYSTALS for number in numbers):
            return False
        return self.distance(composition) <= MAX_DISTANCE

    def distance(self, composition: Composition) -> float:
        """Return the earth mover's distance to the nearest training composition.

        Args:
            composition: Any amounts; only the fractions matter.

        Returns:
            Places on Pettifor's scale per atom; infinite for elements beyond lawrencium, which have
            no place.
        """
        if any(element.Z > _PLACES for element in composition.elements):
            return float("inf")
        pairs = [(element.Z, amount) for element, amount in composition.items()]
        (asked,) = profiles(
            np.array([z for z, _ in pairs]), np.array([a for _, a in pairs]), np.array([0])
        )
        # The distance of two compositions is at least that of their mean places, so those nearest
        # in the mean are compared first and often suffice.
        means = self._means
        place = float(asked.sum())
        for reach in (0.25, 1.0, MAX_DISTANCE, float("inf")):
            low, high = np.searchsorted(means, [place - reach, place + reach])
            if low < high:
                nearest = float(np.abs(self._profiles[low:high] - asked).sum(axis=1).min())
                if nearest <= reach:
                    return nearest
        raise ValueError(f"{self.name} has no compositions")

    @cached_property
    def _ordered(self) -> tuple[np.ndarray, np.ndarray]:
        table = profiles(self.numbers, self.amounts, self.starts)
        means = table.sum(axis=1, dtype=float)
        order = np.argsort(means)
        return table[order], means[order]

    @property
    def _profiles(self) -> np.ndarray:
        return self._ordered[0]

    @property
    def _means(self) -> np.ndarray:
        return self._ordered[1]


@lru_cache(maxsize=1)
def mp2018() -> TrainingSet:
    """Return what is remembered of MP 2018.6.1, loaded once per process."""
    return TrainingSet.load(MP2018, "MP 2018.6.1")


def profiles(numbers: np.ndarray, amounts: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Lay compositions out on Pettifor's scale and sum them up along it.

    The earth mover's distance of two compositions is the sum of the absolute differences of their
    rows.

    Args:
        numbers: (M,) atomic numbers up to 103, one composition after the other.
        amounts: (M,) how many of each.
        starts: (C,) where each composition begins.

    Returns:
        (C, 103), each row rising to 1.
    """
    lengths = np.diff(np.append(starts, len(numbers)))
    rows = np.repeat(np.arange(len(starts)), lengths)
    fractions = amounts / np.add.reduceat(amounts, starts).repeat(lengths)
    spread = np.zeros((len(starts), _PLACES), dtype=np.float32)
    spread[rows, _pettifor()[numbers]] = fractions
    return spread.cumsum(axis=1)


@lru_cache(maxsize=1)
def _pettifor() -> np.ndarray:
    """Return (104,) the place, from 0, of each atomic number on Pettifor's scale."""
    from pymatgen.core import Element

    places = [int(Element.from_Z(z).mendeleev_no) - 1 for z in range(1, _PLACES + 1)]
    return np.array([0, *places])


def vacuum(structure: Structure) -> float:
    """Measure the thickest empty space between two lattice planes, Å.

    Looked at are the planes spanned by two vectors of the Minkowski-reduced cell, which a slab's
    plane is one of.

    Args:
        structure: A crystal.

    Returns:
        Distance between the centres of the atoms on both sides.
    """
    from ase.geometry import minkowski_reduce

    cell, _ = minkowski_reduce(np.asarray(structure.lattice.matrix))
    fractional = (np.asarray(structure.cart_coords) @ np.linalg.inv(cell)) % 1.0
    volume = abs(np.linalg.det(cell))
    thickest = 0.0
    for axis in range(3):
        area = np.linalg.norm(np.cross(cell[axis - 2], cell[axis - 1]))
        places = np.sort(fractional[:, axis])
        gap = np.diff(np.append(places, places[0] + 1.0)).max()
        thickest = max(thickest, float(gap * volume / area))
    return thickest


def dimensionality(structure: Structure) -> int:
    """Return the highest dimensionality of a bonded component: 2 for a slab, 0 for molecules.

    Two atoms are bonded if they are nearer than `_BOND` times the sum of their covalent radii.
    """
    from ase.data import covalent_radii
    from pymatgen.analysis.dimensionality import get_dimensionality_larsen
    from pymatgen.analysis.graphs import StructureGraph

    radii = covalent_radii[np.array(structure.atomic_numbers)]
    first, second, images, lengths = structure.get_neighbor_list(2 * _BOND * float(radii.max()))
    bonded = lengths <= _BOND * (radii[first] + radii[second])
    pairs = zip(
        first[bonded].tolist(), second[bonded].tolist(), images[bonded].astype(int).tolist()
    )
    edges = {  # each bond once, of the two directions in which it is listed
        (i, j, (0, 0, 0), tuple(image)): None
        for i, j, image in pairs
        if i < j or (i == j and image > [0, 0, 0])
    }
    return int(get_dimensionality_larsen(StructureGraph.from_edges(structure, edges)))


def _primitive_size(structure: Structure) -> int:
    """Count the atoms of the primitive cell; those of the given one where symmetry is not found."""
    import spglib

    cell = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    found = spglib.find_primitive(cell, symprec=0.01)
    return len(structure) if found is None else len(found[2])
