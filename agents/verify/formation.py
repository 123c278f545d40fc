"""Formation energies from DFT total energies, raw and with the MP2020 corrections beside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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


PBE_RUNS = ("PBE", "PBE+U", "GGA", "GGA+U")
"""What pymatgen calls the runs of VASP that the corrections were fitted to."""


def mp2020_correction(
    structure: Structure,
    hubbard_u: Mapping[str, float] | None = None,
    vasp: Mapping[str, Any] | None = None,
) -> Correction:
    """Look up the Materials Project's 2020 corrections (doi 10.1038/s41598-021-94550-5).

    They were fitted to VASP with the Materials Project's settings, so with another code they are an
    indication. Where a U was used, the raw value is none either, for it measures oxides with U
    against metals without; the correction of that mixture is among the terms.

    Args:
        structure: The computed crystal.
        hubbard_u: U of each element that it was computed with, eV.
        vasp: ``run_type`` and ``potcars`` (titles) of a calculation with VASP, for which the scheme
            itself is strict: PBE, U where the Materials Project has one, and its POTCARs.
    """
    from pymatgen.entries.compatibility import CompatibilityError, MaterialsProject2020Compatibility
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    used = dict(hubbard_u or {})
    parameters: dict[str, Any] = {"run_type": "GGA+U" if used else "GGA", "hubbards": used}
    if vasp is None:
        parameters["software"] = "gpaw"
    elif vasp["run_type"] not in PBE_RUNS:
        return Correction(None, (f"MP2020 corrects PBE, not {vasp['run_type']}",))
    else:
        parameters["potcar_spec"] = [{"titel": title} for title in vasp["potcars"]]
    scheme = MaterialsProject2020Compatibility(
        compat_type="Advanced" if used or vasp is not None else "GGA",
        check_potcar=vasp is not None,
    )
    entry = ComputedStructureEntry(structure, 0.0, parameters=parameters)
    try:
        adjustments = scheme.get_adjustments(entry)
    except CompatibilityError as error:
        return Correction(None, (str(error).partition(" for {")[0],))
    except (ValueError, ArithmeticError, LookupError) as error:  # its guess of oxidation states
        return Correction(None, (f"{type(error).__name__}: {error}",))
    total = sum(adjustment.value for adjustment in adjustments)
    return Correction(total / len(structure), tuple(one.name for one in adjustments))
