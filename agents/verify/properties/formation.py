"""Formation energies from DFT total energies, raw and with the MP2020 corrections beside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymatgen.core import Structure


class MissingElement(ValueError):
    """An element of the compound has no reference energy."""


def formation_energy_per_atom(
    composition: Mapping[str, float], energy_per_atom: float, references: Mapping[str, float]
) -> float:
    """Compute E_f = E/N - sum_i x_i mu_i, everything from one level of theory.

    Args:
        composition: Atoms of each element in any cell of the compound.
        energy_per_atom: Total energy of the compound, eV/atom.
        references: Energy of each element's reference phase, eV/atom.

    Returns:
        eV/atom.

    Raises:
        MissingElement: A reference is missing.
    """
    missing = sorted(set(composition) - set(references))
    if missing:
        raise MissingElement(f"no reference energy for {', '.join(missing)}")
    atoms = sum(composition.values())
    return energy_per_atom - sum(n * references[e] for e, n in composition.items()) / atoms


@dataclass(frozen=True)
class Correction:
    """The MP2020 correction of a compound.

    Attributes:
        per_atom: eV/atom, to be added to the raw formation energy; None where it is not defined.
        terms: Names of the corrections that were applied, or the reason why none could be.
    """

    per_atom: float | None
    terms: tuple[str, ...]


MIXING_TABLE = Path(__file__).parent / "data" / "gpaw_mixing.json"

PBE_RUNS = ("PBE", "PBE+U", "GGA", "GGA+U")
"""What pymatgen calls the runs of VASP that the corrections were fitted to."""


def mp2020_correction(
    structure: Structure,
    hubbard_u: Mapping[str, float] | None = None,
    vasp: Mapping[str, Any] | None = None,
    cutoff: float | None = None,
) -> Correction:
    """Look up the Materials Project's 2020 corrections (doi 10.1038/s41598-021-94550-5).

    They were fitted to VASP with the Materials Project's settings, so with another code they are an
    indication. Where a U was used, the raw value is none either, for it measures oxides with U
    against metals without. The size of that mixture depends on what U projects on: VASP's terms
    are used with VASP alone, GPAW's own ones are in `MIXING_TABLE`.

    Args:
        structure: The computed crystal.
        hubbard_u: U of each element that it was computed with, eV.
        vasp: ``run_type`` and ``potcars`` (titles) of a calculation with VASP, for which the scheme
            itself is strict: PBE, U where the Materials Project has one, and its POTCARs.
        cutoff: Of a calculation with GPAW, eV. d metals are far from converged at low ones (MnO
            falls by 0.9 eV/atom from 400 to 600), so the mixing terms are refused below the cut-off
            that they were fitted at; None where it is not known.
    """
    from pymatgen.entries.compatibility import CompatibilityError, MaterialsProject2020Compatibility
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    used = dict(hubbard_u or {})
    parameters: dict[str, Any] = {"run_type": "GGA", "hubbards": {}, "software": "gpaw"}
    mixing: dict[str, float] = {}
    if vasp is None:
        missing = sorted(set(used) - set(gpaw_mixing()))
        if missing:
            return Correction(None, (f"U mixing of GPAW is not known for {', '.join(missing)}",))
        for element, u in used.items():
            fitted = gpaw_mixing()[element]
            if u != fitted["u"]:
                reason = f"U {u:g} eV on {element}: U mixing of GPAW is known for {fitted['u']:g}"
                return Correction(None, (reason,))
            if cutoff is not None and cutoff < fitted["cutoff"]:
                reason = (
                    f"U mixing ({element}) is known from {fitted['cutoff']:g} eV, not {cutoff:g}"
                )
                return Correction(None, (reason,))
            amount = structure.composition.get_el_amt_dict()[element]
            mixing[f"GPAW's U mixing ({element})"] = amount * fitted["per_atom"]
    elif vasp["run_type"] not in PBE_RUNS:
        return Correction(None, (f"MP2020 corrects PBE, not {vasp['run_type']}",))
    else:
        parameters = {
            "run_type": "GGA+U" if used else "GGA",
            "hubbards": used,
            "potcar_spec": [{"titel": title} for title in vasp["potcars"]],
        }
    scheme = MaterialsProject2020Compatibility(
        compat_type="GGA" if vasp is None else "Advanced", check_potcar=vasp is not None
    )
    entry = ComputedStructureEntry(structure, 0.0, parameters=parameters)
    try:
        adjustments = scheme.get_adjustments(entry)
    except CompatibilityError as error:
        return Correction(None, (str(error).partition(" for {")[0],))
    except (ValueError, ArithmeticError, LookupError) as error:  # its guess of oxidation states
        return Correction(None, (f"{type(error).__name__}: {error}",))
    total = sum(adjustment.value for adjustment in adjustments) + sum(mixing.values())
    names = (*(one.name for one in adjustments), *mixing)
    return Correction(total / len(structure), names)


@cache
def gpaw_mixing() -> dict[str, dict[str, Any]]:
    """Return GPAW's own terms for mixing compounds with U and metals without.

    Each is fitted to one oxide (``fitted_to``), so that its corrected formation energy is the
    Materials Project's: `benchmarks/dft.py mixing`.

    Returns:
        For each element ``u`` (eV), ``per_atom`` (eV per atom of it) and where it is from.
    """
    table: dict[str, dict[str, Any]] = json.loads(MIXING_TABLE.read_text())["elements"]
    return table
