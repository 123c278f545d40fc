"""The Materials Project's rules for spin and +U, read from pymatgen's input sets.

U values were fitted to oxidation enthalpies (doi 10.1103/PhysRevB.84.045115); they are used where
the most electronegative element is O or F. Dudarev's form, one effective U (LDAUTYPE 2).
"""

from __future__ import annotations

from functools import cache
from typing import Any

DEFAULT_MOMENT = 0.6
"""Initial moment of an element that the tables do not name, μB (pymatgen's input sets)."""


@cache
def _incar() -> dict[str, Any]:
    from pymatgen.io.vasp.sets import MPRelaxSet

    incar: dict[str, Any] = MPRelaxSet.CONFIG["INCAR"]
    return incar


def hubbard_anions() -> tuple[str, ...]:
    """Return the elements whose compounds get a U."""
    return tuple(sorted(_incar()["LDAUU"]))


def hubbard_u() -> dict[str, float]:
    """Return the effective U of the d shell of each element, eV.

    Raises:
        ValueError: The tables of the anions differ, or a U is not for d electrons.
    """
    incar = _incar()
    tables = [incar["LDAUU"][anion] for anion in hubbard_anions()]
    if any(table != tables[0] for table in tables):
        raise ValueError("pymatgen's U values differ between anions: settings hold one table")
    shells = {shell for table in incar["LDAUL"].values() for shell in table.values()}
    if shells != {2} or incar["LDAUTYPE"] != 2:
        raise ValueError(f"pymatgen's U is for l = {shells}, type {incar['LDAUTYPE']}: want d, 2")
    return {element: float(value) for element, value in sorted(tables[0].items())}


def magnetic_moments() -> dict[str, float]:
    """Return the initial moments of the elements that are named without an oxidation state, μB.

    Cells with one of them are treated spin-polarised. The Materials Project polarises all cells.
    """
    moments = _incar()["MAGMOM"]
    return {
        element: float(value) for element, value in sorted(moments.items()) if "+" not in element
    }
