"""Symmetrised primitive cells of slabs: c stays at right angles to the layer, and its vacuum too.

A space group's standard cell knows no vacuum: it may swap the axes, and it moves the layer along c.
Here only operations that keep the layer are used, its lattice is reduced in the plane alone
(Lagrange-Gauss), and positions and metric are averaged over the operations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from agents.slab import area, thickness, with_vacuum

if TYPE_CHECKING:
    from pymatgen.core import Lattice, Structure

    Operations = tuple[NDArray[np.int64], NDArray[np.float64]]

SEARCH_VACUUM = 15.0
"""Vacuum while operations are looked for, Å: any in which the layer sees no image of itself."""
SAME = 1e-6


def idealise(
    structure: Structure, kinds: list[int], symprec: float, vacuum: float
) -> tuple[Structure, list[int], int, bool] | None:
    """Return the primitive cell of a slab, made exactly as symmetric as it is within a tolerance.

    Args:
        structure: The slab, vacuum along c.
        kinds: A number for each site; equal ones may be exchanged.
        symprec: Tolerance, Å.
        vacuum: Of the returned cell, Å.

    Returns:
        The cell, laid out as by `agents.slab.with_vacuum`, its origin in the plane that of spglib's
        standard cell; for each of its sites that of the given structure that it was made from; its
        space group number, with the vacuum as a third period; and whether it may have a dipole
        across the layer. None where spglib finds no symmetry.

    Raises:
        NoSlab: There is no vacuum along c.
    """
    slab = with_vacuum(structure, SEARCH_VACUUM)
    found = _search(slab, kinds, symprec)
    if found is None:
        return None
    _, operations = found
    primitive, kept = _primitive(slab, kinds, operations, symprec)
    chosen = [kinds[index] for index in kept]
    found = _search(primitive, chosen, symprec)
    if found is None:
        return None
    dataset, operations = found
    ideal = _averaged(primitive, chosen, operations)
    origin = -np.linalg.inv(dataset.transformation_matrix) @ dataset.origin_shift
    shift = np.array([origin[0], origin[1], 0.0])
    cell = ideal.copy()
    cell.translate_sites(range(len(cell)), -shift, to_unit_cell=True)
    return with_vacuum(cell, vacuum), kept, int(dataset.number), may_have_dipole(operations[0])


def may_have_dipole(rotations: NDArray[np.int64]) -> bool:
    """Say whether symmetry allows a dipole across a layer.

    An operation that turns the layer upside down forbids it: inversion, a mirror in its plane, a
    two-fold axis in its plane, a rotoreflection.

    Args:
        rotations: Of the layer's operations, shape (M, 3, 3), the third axis across the layer.
    """
    return not (rotations[:, 2, 2] < 0).any()


def slab_record(vacuum: float, cell: Structure, *, polar: bool) -> dict[str, Any]:
    """Say how a slab was computed.

    Args:
        vacuum: That was asked for, Å.
        cell: That was computed.
        polar: Whether symmetry allows a dipole across it, so that its field was corrected.

    Returns:
        Plain JSON values: lengths in Å, the area in Å^2.
    """
    return {
        "vacuum": vacuum,
        "thickness": thickness(cell),
        "area": area(cell),
        "dipole_correction": polar,
    }


def _search(slab: Structure, kinds: list[int], symprec: float) -> tuple[Any, Operations] | None:
    import spglib

    cell = (slab.lattice.matrix, slab.frac_coords, kinds)
    try:
        dataset = spglib.get_symmetry_dataset(cell, symprec=symprec)
    except spglib.SpglibError:
        return None
    if dataset is None:
        return None
    rotations, translations = np.asarray(dataset.rotations), np.asarray(dataset.translations)
    layer = (rotations[:, 2, :2] == 0).all(axis=1) & (rotations[:, :2, 2] == 0).all(axis=1)
    return dataset, (rotations[layer], translations[layer])


def _primitive(
    slab: Structure, kinds: list[int], operations: Operations, symprec: float
) -> tuple[Structure, list[int]]:
    """Return the slab in its smallest cell, and which of its sites are kept."""
    from pymatgen.core import Lattice, Structure

    rotations, translations = operations
    pure = (rotations == np.eye(3, dtype=int)).all(axis=(1, 2))
    vectors = translations[pure][:, :2] % 1.0
    matrix = slab.lattice.matrix
    a, b = _reduced([*(vectors @ matrix[:2, :2]), matrix[0, :2], matrix[1, :2]], len(vectors))
    cell = np.zeros((3, 3))
    cell[0, :2], cell[1, :2], cell[2, 2] = a, b, matrix[2, 2]
    lattice = Lattice(cell)
    fractional = lattice.get_fractional_coords(slab.cart_coords)
    kept: list[int] = []
    for index, place in enumerate(fractional):
        apart = [place - fractional[other] for other in kept if kinds[other] == kinds[index]]
        if not any(_length(lattice, one) < max(10 * symprec, 0.2) for one in apart):
            kept.append(index)
    species = [slab[index].specie for index in kept]
    return Structure(lattice, species, fractional[kept] % 1.0), kept


def _length(lattice: Lattice, difference: NDArray[np.float64]) -> float:
    wrapped = difference - np.round(difference)
    return float(np.linalg.norm(wrapped @ lattice.matrix))


def _reduced(
    vectors: list[NDArray[np.float64]], cells: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the shortest basis of a plane lattice that is spanned by more vectors than two.

    Args:
        vectors: Lattice vectors, the last two a basis of a sublattice, Å.
        cells: How many primitive cells the sublattice's cell holds.
    """
    area = abs(np.linalg.det(np.array(vectors[-2:]))) / cells
    best: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    for i, one in enumerate(vectors):
        for other in vectors[i + 1 :]:
            if abs(abs(_cross(one, other)) - area) < 1e-3 * area:
                best = (one, other)
    if best is None:
        raise ValueError("the translations that spglib found span no lattice")
    a, b = best
    while True:  # Lagrange-Gauss
        if np.linalg.norm(b) < np.linalg.norm(a) - SAME:
            a, b = b, a
        steps = round(float(a @ b / (a @ a)))
        if steps == 0 or np.linalg.norm(b - steps * a) >= np.linalg.norm(b) - SAME:
            break
        b = b - steps * a
    if a @ b > SAME:  # an obtuse angle, as in the standard hexagonal cell
        b = -b
    return (a, b) if _cross(a, b) > 0 else (b, a)


def _cross(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(one[0] * other[1] - one[1] * other[0])


def _averaged(slab: Structure, kinds: list[int], operations: Operations) -> Structure:
    """Average metric and positions over the operations."""
    from pymatgen.core import Lattice, Structure

    rotations, translations = operations
    matrix = np.asarray(slab.lattice.matrix)
    metric = matrix @ matrix.T
    mean = np.mean([w.T @ metric @ w for w in rotations], axis=0)
    lengths = np.sqrt(np.diag(mean))
    gamma = np.degrees(np.arccos(mean[0, 1] / (lengths[0] * lengths[1])))
    lattice = Lattice.from_parameters(*lengths, 90.0, 90.0, gamma)
    places = np.asarray(slab.frac_coords)
    sums = np.zeros_like(places)
    for rotation, translation in zip(rotations, translations, strict=True):
        images = places @ rotation.T + translation
        for index, image in enumerate(images):
            target = _nearest(slab, kinds, places, index, image)
            moved = image - places[target]
            sums[target] += places[target] + moved - np.round(moved)
    return Structure(lattice, slab.species, (sums / len(rotations)) % 1.0)


def _nearest(
    slab: Structure,
    kinds: list[int],
    places: NDArray[np.float64],
    index: int,
    image: NDArray[np.float64],
) -> int:
    candidates = [other for other in range(len(places)) if kinds[other] == kinds[index]]
    return min(candidates, key=lambda other: _length(slab.lattice, image - places[other]))
