"""What a finished calculation with VASP says, under the names of the other codes' records."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.verify.properties.gap import BandGap, Occupations, band_gap, check_occupations
from db.crystals import structure_to_record

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from pymatgen.io.vasp.outputs import Outcar, Vasprun


class BrokenOutput(RuntimeError):
    """An output file of VASP is missing, cut off, or none at all."""


class Unconverged(RuntimeError):
    """VASP stopped at a limit before it converged."""


def read_vasprun(path: Path) -> Vasprun:
    """Read a vasprun.xml, plain or compressed.

    Raises:
        BrokenOutput: It is cut off, is no XML, or is not VASP's.
    """
    from lxml.etree import XMLSyntaxError
    from pymatgen.io.vasp.outputs import Vasprun

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of missing convergence: `check_converged` refuses it
            found = Vasprun(path, parse_dos=True, parse_eigen=True, parse_potcar_file=False)
    except XMLSyntaxError as error:
        raise BrokenOutput(f"{path.name} is cut off or no XML: {error}") from error
    except (ValueError, LookupError, AttributeError, TypeError, OSError, EOFError) as error:
        raise BrokenOutput(
            f"{path.name} cannot be read as VASP's: {type(error).__name__}: {error}"
        ) from error
    missing = [name for name in ("incar", "parameters", "kpoints") if not hasattr(found, name)]
    if missing or not found.ionic_steps:
        lacks = ", ".join(missing) or "a finished calculation"
        raise BrokenOutput(f"{path.name} lacks {lacks}: VASP stopped before its end")
    return found


def read_outcar(path: Path) -> Outcar | None:
    """Read an OUTCAR; None where there is none or where it cannot be read.

    Everything that is judged comes from vasprun.xml; the OUTCAR adds cores and memory.
    """
    from pymatgen.io.vasp.outputs import Outcar

    if not path.is_file():
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Outcar(path)
    except (ValueError, LookupError, AttributeError, TypeError, OSError, EOFError):
        return None


def check_converged(vasprun: Vasprun) -> None:
    """Refuse energies that are not converged.

    Raises:
        Unconverged: The electrons or the ions stopped at their limit of steps.
    """
    if not vasprun.converged_electronic:
        raise Unconverged(
            f"SCF stopped at its limit of {vasprun.parameters['NELM']} iterations (NELM)"
        )
    if not vasprun.converged_ionic:
        raise Unconverged(
            f"the relaxation stopped at its limit of {vasprun.parameters['NSW']} steps (NSW)"
        )
    if not np.isfinite(vasprun.final_energy):
        raise Unconverged("there is no total energy: a GW, response or similar run")


def version(vasprun: Vasprun) -> str:
    """Return the version's numbers, for instance 6.4.2."""
    return version_numbers(str(vasprun.vasp_version))


def version_numbers(text: str) -> str:
    """Return the numbers at the front of a version, for instance of ``5.4.4.18Apr17-6``."""
    found = re.match(r"\s*(?:vasp\.)?(\d+(?:\.\d+){0,2})(?=\D|$)", text)
    return found[1] if found else text.strip()


def record(vasprun: Vasprun, outcar: Outcar | None) -> dict[str, Any]:
    """Put the numbers of a converged calculation together.

    Args:
        vasprun: The converged calculation.
        outcar: Its OUTCAR, where there is one.

    Returns:
        Plain JSON values; the energy (extrapolated to no smearing, as the Materials Project takes
        it) in eV for the cell, the gap in eV, the moment in μB for the cell.
    """
    structure = vasprun.final_structure
    energy = float(vasprun.final_energy)
    spin = bool(vasprun.is_spin)
    return {
        "energy": energy,
        "energy_per_atom": energy / len(structure),
        "n_atoms": len(structure),
        "formula": structure.composition.reduced_formula,
        "structure": structure_to_record(plain_structure(structure)),
        "spin_polarised": spin,
        "magnetic_moment": _moment(vasprun, outcar) if spin else 0.0,
        "k_points": mesh_of(vasprun),
        "irreducible_k_points": len(vasprun.actual_kpoints),
        "bands": int(vasprun.parameters["NBANDS"]),
        "valence_electrons": float(vasprun.parameters["NELECT"]),
        "scf_iterations": len(vasprun.ionic_steps[-1]["electronic_steps"]),
        "ionic_steps": len(vasprun.ionic_steps),
        "converged": True,
        "hubbard_u": {name: float(u) for name, u in vasprun.hubbards.items() if u},
        "vasp": {
            "version": str(vasprun.vasp_version),
            "run_type": str(vasprun.run_type),
            "potcars": [str(title) for title in vasprun.potcar_symbols],
            "incar": {name: plain_value(value) for name, value in vasprun.incar.items()},
            "cores": cores(outcar),
        },
    }


def gap_of(vasprun: Vasprun) -> tuple[BandGap, Occupations]:
    """Find the gap on the mesh of the calculation, and cross-check it by the occupations."""
    channels = [
        vasprun.eigenvalues[spin] for spin in sorted(vasprun.eigenvalues, key=int, reverse=True)
    ]
    values = np.array(channels, dtype=float)  # (spins, k-points, bands, (energy, occupation))
    electrons = float(vasprun.parameters["NELECT"])
    level = float(vasprun.calculate_efermi())  # VASP's own may lie inside the highest band
    found = band_gap(values[..., 0], electrons=electrons, fermi_level=level)
    weights = np.array(vasprun.actual_kpoints_weights, dtype=float)
    check = check_occupations(
        found, values[..., 0], values[..., 1], weights / weights.sum(), electrons
    )
    return found, check


def _moment(vasprun: Vasprun, outcar: Outcar | None) -> float | None:
    """Return the moment of the cell, μB; None where neither file tells it."""
    if vasprun.eigenvalues:
        return magnetic_moment(vasprun)
    found = None if outcar is None else outcar.total_mag
    return None if found is None else float(found)


def magnetic_moment(vasprun: Vasprun) -> float:
    """Return the moment of the cell from the occupations of both spins, μB."""
    if len(vasprun.eigenvalues) < 2:
        return 0.0
    weights = np.array(vasprun.actual_kpoints_weights, dtype=float)
    up, down = (
        vasprun.eigenvalues[spin] for spin in sorted(vasprun.eigenvalues, key=int, reverse=True)
    )
    difference = (np.asarray(up)[..., 1] - np.asarray(down)[..., 1]).sum(axis=1)
    return float(difference @ (weights / weights.sum()))


def mesh_of(vasprun: Vasprun) -> list[int] | None:
    """Return the divisions of an automatic mesh; None for a list of points."""
    points = vasprun.kpoints
    automatic = points.style.name in ("Automatic", "Gamma", "Monkhorst")
    if not automatic or len(points.kpts) != 1 or len(points.kpts[0]) != 3:
        return None
    return [int(number) for number in points.kpts[0]]


def cores(outcar: Outcar | None) -> int | None:
    """Return the number of cores that VASP ran on, where its OUTCAR tells."""
    found = None if outcar is None else outcar.run_stats.get("cores")
    return int(found) if found else None


def plain_structure(structure: Structure) -> Structure:
    """Return the crystal without site properties."""
    bare = structure.copy()
    for name in list(bare.site_properties):
        bare.remove_site_property(name)
    return bare


def plain_value(value: Any) -> Any:
    """Return an INCAR value as plain JSON."""
    if isinstance(value, Mapping):
        return {str(name): plain_value(one) for name, one in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain_value(one) for one in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, (bool, int, float, str)) or value is None else str(value)
