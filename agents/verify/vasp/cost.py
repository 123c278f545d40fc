"""What a calculation with VASP will cost: an order of magnitude, never measured on VASP.

The seconds for a plane-wave coefficient, k-point and iteration are those measured for GPAW; MP's
sets polarise the spin of everything.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from agents.verify.setup.cost import SECONDS_PER_COEFFICIENT, is_in_vacuum, plane_waves
from agents.verify.setup.symmetry import irreducible, is_hexagonal, symmetrise
from agents.verify.vasp.settings import VASPSettings

if TYPE_CHECKING:
    from pymatgen.core import Structure

SECONDS_START = 5.0
ITERATIONS = 15
GAP_ITERATIONS = 6  # from the converged density
SPINS = 2
EMPTY_SHARE = 0.2  # bands above the occupied ones


def estimate(
    structure: Structure, settings: VASPSettings, electrons: float, vacuum: float | None = None
) -> float:
    """Estimate the seconds of energy and gap on one core.

    Args:
        structure: Crystal, or molecule in a box (recognised by its empty volume).
        settings: The level of theory.
        electrons: Valence electrons in the given cell.
        vacuum: The crystal is a slab, computed with so much vacuum along c, Å.

    Returns:
        Seconds; infinite where the cell is broken.
    """
    if vacuum is None and is_in_vacuum(structure):
        return SECONDS_START + ITERATIONS * _step(structure, settings, electrons)
    try:
        cell = symmetrise(structure, settings.symprec, settings.max_displacement, vacuum).structure
    except ValueError:
        return math.inf
    step = _step(cell, settings, electrons * len(cell) / len(structure))
    steps = 0.0
    for points, iterations in (
        (settings.k_points, ITERATIONS),
        (settings.gap_k_points, GAP_ITERATIONS),
    ):
        steps += iterations * irreducible(
            cell, mesh(cell, points, flat=vacuum is not None), settings.symprec
        )
    return SECONDS_START + steps * step


def mesh(
    cell: Structure, k_points: dict[str, float], *, flat: bool = False
) -> tuple[int, int, int]:
    """Return the mesh that pymatgen or VASP will make.

    Args:
        cell: The cell that is computed.
        k_points: ``reciprocal_density`` or ``KSPACING``, see `VASPSettings`.
        flat: The cell is a slab: at least as dense in its plane, one point along c; multiples of 3
            in a hexagonal plane, which hold K.
    """
    if flat:
        first, second, _ = mesh(cell, k_points)
        if is_hexagonal(cell):
            first = second = 3 * -(-max(first, second) // 3)
        return first, second, 1
    if "KSPACING" in k_points:
        spacing = k_points["KSPACING"]
        a, b, c = cell.lattice.reciprocal_lattice.abc  # 2π included, as VASP counts
        return tuple(max(1, math.ceil(length / spacing)) for length in (a, b, c))
    from pymatgen.io.vasp.inputs import Kpoints

    automatic = Kpoints.automatic_density_by_vol(cell, int(k_points["reciprocal_density"]))
    first, second, third = automatic.kpts[0]
    return int(first), int(second), int(third)


def _step(cell: Structure, settings: VASPSettings, electrons: float) -> float:
    bands = electrons / 2 * (1 + EMPTY_SHARE)
    return SPINS * SECONDS_PER_COEFFICIENT * bands * plane_waves(cell.volume, settings.cutoff)
