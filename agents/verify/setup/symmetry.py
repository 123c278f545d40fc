"""Symmetrised input cells and k-point meshes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.slab import with_vacuum
from agents.verify.setup.slab_symmetry import idealise

if TYPE_CHECKING:
    from pymatgen.core import Structure

MOMENT_DECIMALS = 2
MESH_SYMPREC = 0.01  # Å
MIN_ANGLE = 40.0
"""Sharper cells are Niggli-reduced, degrees: GPAW calls their results unreliable, and a mesh along
their long reciprocal vectors wastes points."""
HEXAGONAL_LENGTH = 0.005
"""Relative difference of a and b up to which the plane lattice of a slab is taken for hexagonal."""
HEXAGONAL_ANGLE = 0.3
"""Likewise of its angle, degrees."""
CLOSEST = 0.5
"""Å; the shortest bond there is, that of H2, has 0.74 Å."""


@dataclass(frozen=True)
class SymmetrisedCell:
    """The primitive cell that is handed to the DFT code.

    Attributes:
        structure: Idealised primitive cell.
        space_group: International number.
        symprec: Tolerance that was used, Å.
        max_displacement: How far symmetrising moved an atom, Å.
        polar: Of a slab: whether symmetry allows a dipole across it; None for bulk crystals.
    """

    structure: Structure
    space_group: int
    symprec: float
    max_displacement: float
    polar: bool | None = None

    def record(self) -> dict[str, Any]:
        """Return what symmetrising did, as plain JSON values."""
        found = {
            "space_group": self.space_group,
            "symprec": self.symprec,
            "max_displacement": self.max_displacement,
        }
        return found if self.polar is None else {**found, "polar": self.polar}


def symmetrise(
    structure: Structure, symprec: float, max_displacement: float, vacuum: float | None = None
) -> SymmetrisedCell:
    """Idealise a crystal to the highest symmetry that leaves every atom near its place.

    Relaxed crystals carry noise of a few 0.01 Å, which costs a factor of five in k-points; the
    tolerance is lowered tenfold until no atom moves further than allowed. Atoms of different
    magnetic moment count as different, so an antiferromagnet keeps its larger cell.

    Args:
        structure: Any cell of the crystal; a site property ``magmom`` (μB) is kept.
        symprec: First tolerance of the symmetry search (spglib), Å.
        max_displacement: Largest movement of an atom that is accepted, Å.
        vacuum: The crystal is a slab and gets so much vacuum along c, Å; None: it is a bulk crystal
            (`agents.verify.setup.slab_symmetry`).

    Returns:
        The primitive cell, its space group, and the tolerance and movement to be recorded.

    Raises:
        ValueError: No tolerance down to 1e-5 Å gives a cell of the same crystal; atoms are closer
            than any are; or a slab has no vacuum along c.
    """
    _require_apart(structure)
    if vacuum is not None:
        structure = with_vacuum(structure, vacuum)
    tolerance = symprec
    while tolerance >= 1e-5:
        found = _primitive(structure, tolerance, vacuum)
        if found is not None:
            cell, number, polar = found
            moved = displacement(structure, cell)
            if moved is not None and moved <= max_displacement:
                return SymmetrisedCell(cell, number, tolerance, moved, polar)
        tolerance /= 10
    raise ValueError(
        f"no symmetrised cell of {structure.composition.reduced_formula} keeps every atom within "
        f"{max_displacement:g} Å: the structure has atoms on top of each other or a broken lattice"
    )


def _require_apart(structure: Structure) -> None:
    """Refuse atoms on top of each other: spglib would end the whole process (a segmentation fault).

    Raises:
        ValueError: Two atoms, or an atom and its own image, are closer than `CLOSEST`.
    """
    shortest = min(structure.lattice.get_lll_reduced_lattice().abc)
    if shortest < CLOSEST or not structure.is_valid(CLOSEST):
        raise ValueError(
            f"{structure.composition.reduced_formula} has atoms closer than {CLOSEST:g} Å"
        )


def _primitive(
    structure: Structure, symprec: float, vacuum: float | None
) -> tuple[Structure, int, bool | None] | None:
    if vacuum is not None:
        return _flat_primitive(structure, symprec, vacuum)
    import spglib
    from pymatgen.core import Structure

    kinds = _kinds(structure)
    numbers = [kinds.index(kind) + 1 for kind in _labels(structure)]
    cell = (structure.lattice.matrix, structure.frac_coords, numbers)
    try:
        dataset = spglib.get_symmetry_dataset(cell, symprec=symprec)
        ideal = spglib.standardize_cell(cell, to_primitive=True, no_idealize=False, symprec=symprec)
    except spglib.SpglibError:
        return None
    if dataset is None or ideal is None:
        return None
    lattice, positions, order = ideal
    found = [kinds[int(number) - 1] for number in order]
    moments = {"magmom": [moment for _, moment in found]} if has_moments(structure) else None
    primitive = Structure(
        lattice,
        [symbol for symbol, _ in found],
        np.asarray(positions) % 1.0,
        site_properties=moments,
    )
    if not all(MIN_ANGLE < angle < 180.0 - MIN_ANGLE for angle in primitive.lattice.angles):
        primitive = primitive.get_reduced_structure("niggli")
    return primitive, int(dataset.number), None


def _flat_primitive(
    structure: Structure, symprec: float, vacuum: float
) -> tuple[Structure, int, bool] | None:
    kinds = _kinds(structure)
    numbers = [kinds.index(kind) + 1 for kind in _labels(structure)]
    found = idealise(structure, numbers, symprec, vacuum)
    if found is None:
        return None
    cell, kept, number, polar = found
    if has_moments(structure):
        cell.add_site_property("magmom", [kinds[numbers[index] - 1][1] for index in kept])
    return cell, number, polar


def has_moments(structure: Structure) -> bool:
    """Say whether the sites have magnetic moments of their own."""
    return any(structure.site_properties.get("magmom") or ())


def _labels(structure: Structure) -> list[tuple[str, float]]:
    """Return the symbol and the moment (μB, rounded) of each site."""
    moments = structure.site_properties.get("magmom") or [0.0] * len(structure)
    return [
        (site.specie.symbol, round(float(moment or 0.0), MOMENT_DECIMALS) + 0.0)
        for site, moment in zip(structure, moments, strict=True)
    ]


def _kinds(structure: Structure) -> list[tuple[str, float]]:
    """Return the distinct atoms in the order of their atomic numbers, as spglib sorts them."""
    from pymatgen.core import Element

    return sorted(set(_labels(structure)), key=lambda kind: (Element(kind[0]).Z, -kind[1]))


def displacement(structure: Structure, other: Structure) -> float | None:
    """Measure how far atoms are apart in two cells of one crystal.

    Args:
        structure: A cell.
        other: A cell with as many atoms or a whole fraction of them.

    Returns:
        The largest distance after the best superposition, Å; None when they do not match at all.
    """
    from pymatgen.analysis.structure_matcher import StructureMatcher

    # pymatgen's own reduction to primitive cells averages distortions of up to 0.25 Å away.
    matcher = StructureMatcher(
        ltol=0.1,
        stol=0.3,
        angle_tol=5,
        scale=False,
        primitive_cell=False,
        attempt_supercell=len(structure) != len(other),
    )
    distances = matcher.get_rms_dist(structure, other)
    if distances is None:
        return None
    return float(distances[1] * (structure.volume / len(structure)) ** (1 / 3))


def mesh(structure: Structure, density: float, *, flat: bool = False) -> tuple[int, int, int]:
    """Choose a k-point mesh around Γ that holds the middle of every face of the zone, too.

    Args:
        structure: The cell.
        density: Points per Å^-1 (2π included), at least.
        flat: The cell is a slab with its vacuum along c, where one point is enough.

    Returns:
        Even numbers of points along the three reciprocal vectors; in the plane of a hexagonal slab
        multiples of 6, which hold K as well as M. Bulk crystals: where different numbers break the
        symmetry of a Niggli-reduced cell, they are all the same, and just enough for every vector
        of the crystal that the mesh makes periodic to be as long (2π times the density). Their
        even numbers hold the faces of the zone, but K of a hexagonal crystal only by chance.
    """
    lengths = structure.lattice.reciprocal_lattice.abc
    n = [max(2, 2 * int(np.ceil(density * length / 2 - 1e-6))) for length in lengths]
    if flat:
        return _flat_mesh(structure, n[0], n[1])
    plain = (n[0], n[1], n[2])
    folded = irreducible(structure, (max(n),) * 3, MESH_SYMPREC)
    if len(set(n)) == 1 or irreducible(structure, plain, MESH_SYMPREC) <= folded:
        return plain
    shortest = min(structure.lattice.get_niggli_reduced_lattice().abc)
    enough = max(2, 2 * int(np.ceil(np.pi * density / shortest - 1e-6)))
    return enough, enough, enough


def _flat_mesh(structure: Structure, n: int, m: int) -> tuple[int, int, int]:
    """Make both numbers of points the larger one where different ones break the symmetry.

    Those of a hexagonal lattice become a multiple of 6, so that the mesh holds K and M.
    """
    if is_hexagonal(structure):
        size = 6 * -(-max(n, m) // 6)
        return size, size, 1
    folded = irreducible(structure, (max(n, m), max(n, m), 1), MESH_SYMPREC)
    if n == m or irreducible(structure, (n, m, 1), MESH_SYMPREC) <= folded:
        return n, m, 1
    return max(n, m), max(n, m), 1


def is_hexagonal(structure: Structure) -> bool:
    """Say whether the lattice in the plane of a slab is hexagonal, its atoms aside.

    Dirac cones and the gaps of many such layers are at K, (1/3, 1/3), which a mesh holds only where
    both numbers of points are multiples of 3.
    """
    a, b, _ = structure.lattice.abc
    gamma = structure.lattice.gamma
    same = abs(a - b) <= HEXAGONAL_LENGTH * max(a, b)
    return same and min(abs(gamma - 60.0), abs(gamma - 120.0)) <= HEXAGONAL_ANGLE


def irreducible(structure: Structure, size: tuple[int, int, int], symprec: float) -> int:
    """Count the k-points of a Γ-centred mesh that symmetry leaves."""
    import spglib

    kinds = _kinds(structure)
    numbers = [kinds.index(kind) + 1 for kind in _labels(structure)]
    cell = (structure.lattice.matrix, structure.frac_coords, numbers)
    mapping, _ = spglib.get_ir_reciprocal_mesh(size, cell, is_shift=[0, 0, 0], symprec=symprec)
    return len(np.unique(mapping))
