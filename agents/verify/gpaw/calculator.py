"""GPAW's calculator for one cell at one level of theory, brought to self-consistency."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agents.verify.setup.presets import DFTSettings
from agents.verify.setup.symmetry import has_moments

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

OWN_CHANGES = frozenset({"mixer", "eigensolver"})
"""Keywords of GPAW that an attempt may change besides the fields of the settings."""

SCF_LOG = "scf.txt"


class NotConverged(RuntimeError):
    """Self-consistency, or the end of a relaxation, was not reached."""


def atoms_of(
    cell: Structure, settings: DFTSettings, molecule: bool, *, flat: bool = False
) -> tuple[Atoms, bool]:
    """Build the atoms with their initial magnetic moments.

    Moments of the sites (site property ``magmom``) count before those of the elements, which order
    ferromagnetically.

    Args:
        cell: The cell to compute.
        settings: The level of theory.
        molecule: A molecule in its box; O2 is a triplet, the others have closed shells.
        flat: A slab, not periodic along c.

    Returns:
        The atoms, and whether they are treated spin-polarised.
    """
    from ase import Atoms

    symbols = [site.specie.symbol for site in cell]
    if has_moments(cell):
        moments = [float(moment or 0.0) for moment in cell.site_properties["magmom"]]
    elif molecule:
        moments = [1.0 if symbol == "O" else 0.0 for symbol in symbols]
    elif set(symbols) & set(settings.magnetic_moments):
        known = settings.magnetic_moments
        moments = [known.get(symbol, settings.default_moment) for symbol in symbols]
    else:
        moments = [0.0] * len(symbols)
    spin = any(moments)
    atoms = Atoms(
        symbols,
        cell=cell.lattice.matrix,
        scaled_positions=cell.frac_coords,
        pbc=(True, True, not flat),
        magmoms=moments if spin else None,
    )
    return atoms, spin


def parameters(
    atoms: Atoms,
    settings: DFTSettings,
    size: tuple[int, int, int],
    *,
    spin: bool,
    molecule: bool = False,
    cutoff: float | None = None,
    polar: bool | None = None,
) -> dict[str, Any]:
    """Translate the settings into GPAW's keywords.

    Args:
        atoms: What is computed.
        settings: The level of theory.
        size: k-point mesh.
        spin: Treat both spins.
        molecule: Keep the moment of an open-shell molecule.
        cutoff: eV; that of the settings where None.
        polar: The crystal is a slab across which there may be a dipole: its field is corrected.
    """
    occupations: dict[str, Any] = {"name": "fermi-dirac", "width": settings.smearing}
    if molecule and spin:
        occupations["fixmagmom"] = True
    dipole = {"poissonsolver": {"dipolelayer": "xy"}} if polar else {}
    hubbard = settings.hubbard_of(atoms.get_chemical_symbols())
    return {
        "mode": {"name": "pw", "ecut": cutoff or settings.cutoff},
        "xc": settings.xc,
        "kpts": {"size": size, "gamma": True},
        "occupations": occupations,
        "nbands": -settings.empty_bands,
        "spinpol": spin,
        "setups": {
            "default": settings.setups,
            **{element: f":d,{value:g}" for element, value in hubbard.items()},
        },
        "convergence": {
            "energy": settings.energy_tolerance,
            "density": settings.density_tolerance,
            "eigenstates": settings.eigenstates_tolerance,
        },
        "maxiter": settings.max_iterations,
        **dipole,
    }


def converge(
    atoms: Atoms, keywords: Mapping[str, Any], changes: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Attach a calculator and bring it to self-consistency, once.

    Another attempt with slower mixing is another run (`agents.verify.setup.ladder`).

    Args:
        atoms: What is computed; gets the calculator.
        keywords: From `parameters`.
        changes: What this attempt is to change, of which `OWN_CHANGES` matter here.

    Returns:
        The calculator, and those of GPAW's own keywords that were changed (``scf_options``).

    Raises:
        NotConverged: It did not get there.
    """
    from gpaw import GPAW, KohnShamConvergenceError

    options = {name: changes[name] for name in sorted(OWN_CHANGES & set(changes))}
    calculator = GPAW(**{**keywords, **options, "txt": SCF_LOG})
    atoms.calc = calculator
    try:
        atoms.get_potential_energy()
    except KohnShamConvergenceError as error:
        raise NotConverged(f"SCF did not converge in {keywords['maxiter']} iterations") from error
    return calculator, {"scf_options": options}
