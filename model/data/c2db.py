"""Layers of C2DB whose coordinates were written in the wrong axes, and how to read them.

In the tables of the data folder (``c2db_{train,val,test}.csv.gz``) every cell that is not
rectangular holds *Cartesian* coordinates divided by the lengths of the cell, wrapped into [0, 1),
where fractional ones are meant: the atoms of 1H-MoS2 stand at (0, 0.577) and (1/2, 0.289), which is
(1/3, 2/3) and (2/3, 1/3) in units of the cell's vectors. Read as fractional, 6 of the 289 such
layers of the validation and test splits have the space group that C2DB gives them; read as below,
277 do, and shortest distances of half the sum of two radii are gone. Rectangular cells are not
concerned.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from model.data.canonical import Crystal

TABLES = frozenset(
    f"c2db_{split}.csv{packed}" for split in ("train", "val", "test") for packed in (".gz", "")
)
"""Names of the tables that are written so, packed or not; what JARVIS publishes is not."""
RECTANGULAR = 0.05
"""An angle in the plane this near to 90 degrees is one: both readings are the same."""
EDGE = 1e-3


def repaired(crystal: Crystal) -> Crystal:
    """Return a layer with the coordinates that its table means; see `fractional`."""
    return replace(crystal, frac=fractional(crystal.frac, crystal.cell))


def fractional(written: NDArray[np.float64], cell: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the fractional coordinates that a table of C2DB means.

    Wrapping is undone where it can be: a lattice vector lies along x, so wrapping x moves an atom
    by it; y is wrapped by less than the cell's height only where it came out of the cell.

    Args:
        written: As in the table, shape (N, 3).
        cell: a, b, c in Å and alpha, beta, gamma in degrees; a along x, b in the xy plane, c along
            z.

    Returns:
        Shape (N, 3), in [0, 1); as written where the cell is rectangular.

    Raises:
        ValueError: c is not perpendicular to the layer, so this is no row of those tables.
    """
    a, b, _, alpha, beta, gamma = cell
    if abs(alpha - 90.0) > RECTANGULAR or abs(beta - 90.0) > RECTANGULAR:
        raise ValueError(f"c is not perpendicular to the layer: angles {alpha:g} and {beta:g}")
    if abs(gamma - 90.0) <= RECTANGULAR:
        return written
    sine, cosine = np.sin(np.radians(gamma)), np.cos(np.radians(gamma))
    x, y, z = np.array(written, dtype=np.float64).T
    y = np.where(y > sine + EDGE, y - 1.0, y)  # above the cell: wrapped, from below it
    second = y / sine
    first = x - second * cosine * b / a
    found: NDArray[np.float64] = np.stack([first, second, z], axis=1) % 1.0
    return found
