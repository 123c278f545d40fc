"""Which of many crystals repeat each other, and how many structure prototypes they are."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from model.metrics.matching import PLAIN, matcher

if TYPE_CHECKING:
    from pymatgen.core import Structure

SYMPREC = 0.1
"""Å within which symmetry is looked for: decoded coordinates are off by a few hundredths."""
_SAME_LENGTHS, _SAME_ANGLES, _SAME_FRAC = 0.1, 2.0, 0.02
"""Relative, degrees, fractional: so near, with equal atoms in equal order, the matcher always fits;
a test holds it to that."""


def distinct(structures: Sequence[Structure]) -> list[int]:
    """Number crystals so that equal ones share a number.

    Equal are those that pymatgen's `StructureMatcher` (0.3, 0.5, 10) fits. Each is compared with
    the first crystal of every number of its reduced formula.

    Args:
        structures: in the order in which they were found.

    Returns:
        The number of each, from 0 on, in the order in which the crystals appear.
    """
    first: dict[str, list[tuple[int, Structure]]] = defaultdict(list)
    numbers: list[int] = []
    count = 0
    for structure in structures:
        known = first[structure.composition.reduced_formula]
        found = next((n for n, other in known if _nearly_equal(structure, other)), None)
        if found is None:
            found = next((n for n, other in known if _fits(structure, other)), None)
        if found is None:
            found, count = count, count + 1
            known.append((found, structure))
        numbers.append(found)
    return numbers


def _nearly_equal(one: Structure, other: Structure) -> bool:
    if len(one) != len(other) or one.atomic_numbers != other.atomic_numbers:
        return False
    lengths = np.asarray(one.lattice.abc) / np.asarray(other.lattice.abc)
    lengths /= np.cbrt(one.volume / other.volume)
    angles = np.abs(np.subtract(one.lattice.angles, other.lattice.angles))
    shifts = one.frac_coords - other.frac_coords
    shifts -= np.round(shifts)
    return bool(
        np.abs(lengths - 1).max() < _SAME_LENGTHS / 2
        and angles.max() < _SAME_ANGLES
        and np.abs(shifts).max() < _SAME_FRAC
    )


def _fits(one: Structure, other: Structure) -> bool:
    try:
        return bool(matcher(PLAIN).fit(one, other))
    except ValueError:  # pymatgen's words for a cell too skewed for a Niggli reduction
        return False


def prototype(structure: Structure) -> str:
    """Return a label that crystals of one structure type share, whatever their elements.

    Returns:
        Ratio of the atoms, space group number, and the Wyckoff letters each element occupies, as
        "ABC3 221 a-b-c"; "ABC3 1 ?" where no symmetry was found. Two settings of one structure may
        have two labels (their letters differ), so counts are an upper bound.
    """
    import spglib

    cell = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    ratio = structure.composition.anonymized_formula
    try:
        found = spglib.get_symmetry_dataset(cell, symprec=SYMPREC)
    except spglib.SpglibError:
        found = None
    if found is None:
        return f"{ratio} 1 ?"
    orbits: dict[int, Counter[str]] = defaultdict(Counter)
    seen: set[int] = set()
    for number, orbit, letter in zip(
        structure.atomic_numbers, found.equivalent_atoms.tolist(), found.wyckoffs, strict=True
    ):
        if orbit not in seen:
            seen.add(orbit)
            orbits[number][letter] += 1
    letters = sorted("".join(sorted(counter.elements())) for counter in orbits.values())
    return f"{ratio} {found.number} {'-'.join(letters)}"
