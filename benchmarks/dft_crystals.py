"""The crystals that `benchmarks/dft.py` computes, and how their spins are ordered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from pymatgen.core import Structure

from agents.verify.gpaw.backend import GPAWBackend


@dataclass(frozen=True)
class Case:
    """One crystal of the reference data.

    Attributes:
        formula: Its name here.
        source: File with the structure and the Materials Project's values (MP-20: corrected by
            MP2020, the scheme that ours is corrected by).
        material_id: Its id there.
        order: Magnetic order.
        gap_k_density: Mesh of the gap where the preset's costs too much; None: the preset's.
    """

    formula: str
    source: str
    material_id: str
    order: str = ""
    gap_k_density: float | None = None


def alternating_planes(cell: Structure) -> Structure:
    """Order rock salt antiferromagnetically of type II: alternating (111) planes."""
    doubled = cell.make_supercell([[0, 1, 1], [1, 0, 1], [1, 1, 0]], in_place=False)
    planes = cell.lattice.get_fractional_coords(doubled.cart_coords).sum(axis=1).round()
    return _ordered(doubled, np.where(planes.astype(int) % 2, -1, 1))


def hematite(cell: Structure) -> Structure:
    """Order the four iron atoms along the axis of corundum's rhombohedron: + - - +."""
    heights = (cell.frac_coords % 1.0).sum(axis=1)
    iron = sorted(
        (n for n, site in enumerate(cell) if site.specie.symbol == "Fe"), key=heights.item
    )
    signs = np.ones(len(cell), dtype=int)
    signs[iron[1:3]] = -1
    return _ordered(cell, signs)


def _ordered(cell: Structure, signs: np.ndarray) -> Structure:
    known = GPAWBackend().settings("standard").magnetic_moments
    moments = [
        sign * known.get(site.specie.symbol, 0.0) for sign, site in zip(signs, cell, strict=True)
    ]
    return cell.copy(site_properties={"magmom": [float(moment) for moment in moments]})


ORDERS: dict[str, Callable[[Structure], Structure]] = {
    "": lambda cell: cell,
    "ferromagnetic": lambda cell: cell,
    "antiferromagnetic, type II": alternating_planes,
    "antiferromagnetic, + - - +": hematite,
}

CASES = (
    Case("Si", "mp20_val", "mp-149"),
    Case("NaCl", "mp20_val", "mp-22862"),
    Case("MgO", "mp20_train", "mp-1265"),
    Case("GaAs", "mp20_train", "mp-2534"),
    Case("SrTiO3", "mp20_train", "mp-5229"),
    Case("MnO", "mp20_train", "mp-19006", "antiferromagnetic, type II"),
    Case("CsPbCl3", "mp20_train", "mp-23037"),
    Case("TiO2", "mp20_train", "mp-2657"),
    Case("Fe2O3", "mp20_test", "mp-19770", "antiferromagnetic, + - - +", 3.5),
    Case("CdTe", "mp20_test", "mp-406"),
    Case("MnO", "mp20_train", "mp-19006", "ferromagnetic"),
    Case("KI", "mp20_train", "mp-22898"),
    Case("CsPbI3", "mp20_train", "mp-1069538"),
    Case("Fe2O3", "mp20_test", "mp-19770", "ferromagnetic", 3.5),
)
OLDER = "mp2018_megnet"
"""The Materials Project of 2018, whose gaps were made on other meshes; for the gaps only."""
