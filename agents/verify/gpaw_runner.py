"""One GPAW calculation in a process of its own: ``python -m agents.verify.gpaw_runner IN OUT``.

The input is ``{"structure", "settings", "molecule"}``; the output is ``{"result": {...}}`` or
``{"error": {...}}``, written atomically, with the GPAW logs beside it. Plane waves on one thread.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.verify.gap import BandGap, band_gap
from agents.verify.presets import DFTSettings
from agents.verify.symmetry import mesh, symmetrise

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

# The first attempt leaves mixing to GPAW (MSR1); the retry is Pulay mixing with short steps.
ATTEMPTS: tuple[dict[str, Any], ...] = (
    {},
    {"mixer": {"name": "pulay", "beta": 0.02, "nmaxold": 8, "weight": 100.0}},
)
LOG_TAIL_LINES = 30


class NotConverged(RuntimeError):
    """No attempt reached self-consistency."""


def calculate(structure: Structure, settings: DFTSettings, molecule: bool) -> dict[str, Any]:
    """Run the self-consistent calculation and confirm its gap.

    Args:
        structure: Crystal, or molecule in its box.
        settings: All settings of the level of theory.
        molecule: No symmetry, Γ only, no band gap.

    Returns:
        Plain JSON values; energies in eV for the cell that was computed, ``energy_per_atom`` for
        comparisons, gaps in eV, seconds.

    Raises:
        NotConverged: Neither attempt reached self-consistency.
    """
    started, started_cpu = time.monotonic(), time.process_time()
    if molecule:
        cell, symmetry = structure, {}
        size = (1, 1, 1)
    else:
        ideal = symmetrise(structure, settings.symprec, settings.max_displacement)
        cell, size = (
            ideal.structure,
            mesh(ideal.structure, _densities(ideal.structure, settings)[0]),
        )
        symmetry = {
            "space_group": ideal.space_group,
            "symprec": ideal.symprec,
            "max_displacement": ideal.max_displacement,
        }
    atoms, spin = _atoms(cell, settings, molecule)
    calculator, attempt = _converge(atoms, settings, size, spin, molecule)
    energy = float(atoms.get_potential_energy(force_consistent=False))
    result: dict[str, Any] = {
        "energy": energy,
        "energy_per_atom": energy / len(atoms),
        "n_atoms": len(atoms),
        "formula": cell.composition.reduced_formula,
        "structure": _record(cell),
        "symmetry": symmetry,
        "spin_polarised": spin,
        "magnetic_moment": float(calculator.get_magnetic_moment()) if spin else 0.0,
        "k_points": list(size),
        "irreducible_k_points": len(calculator.get_ibz_k_points()),
        "bands": int(calculator.get_number_of_bands()),
        "valence_electrons": float(calculator.get_number_of_electrons()),
        "scf_iterations": int(calculator.get_number_of_iterations()),
        "scf_attempt": attempt,
        "converged": True,
        "scf_seconds": time.monotonic() - started,
    }
    if not molecule:
        result |= _gaps(calculator, cell, settings)
    result["wall_seconds"] = time.monotonic() - started
    result["cpu_seconds"] = time.process_time() - started_cpu
    result["max_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result


def _densities(cell: Structure, settings: DFTSettings) -> tuple[float, float]:
    return settings.k_densities(len(cell.composition))


def _atoms(cell: Structure, settings: DFTSettings, molecule: bool) -> tuple[Atoms, bool]:
    from ase import Atoms

    symbols = [site.specie.symbol for site in cell]
    if molecule:
        moments = [1.0 if symbol == "O" else 0.0 for symbol in symbols]  # O2 is a triplet
    else:
        moments = [settings.magnetic_moments.get(symbol, 0.0) for symbol in symbols]
    spin = any(moments)
    atoms = Atoms(
        symbols,
        cell=cell.lattice.matrix,
        scaled_positions=cell.frac_coords,
        pbc=True,
        magmoms=moments if spin else None,
    )
    return atoms, spin


def _converge(
    atoms: Atoms, settings: DFTSettings, size: tuple[int, int, int], spin: bool, molecule: bool
) -> tuple[Any, int]:
    from gpaw import GPAW, KohnShamConvergenceError

    occupations: dict[str, Any] = {"name": "fermi-dirac", "width": settings.smearing}
    if molecule and spin:
        occupations["fixmagmom"] = True
    setups = {
        element: f":{orbital_u}" for element, orbital_u in _hubbard(settings, atoms.symbols).items()
    }
    for number, options in enumerate(ATTEMPTS, start=1):
        calculator = GPAW(
            mode={"name": "pw", "ecut": settings.cutoff},
            xc=settings.xc,
            kpts={"size": size, "gamma": True},
            occupations=occupations,
            nbands=-settings.empty_bands,
            spinpol=spin,
            setups={"default": settings.setups, **setups},
            convergence={
                "energy": settings.energy_tolerance,
                "density": settings.density_tolerance,
                "eigenstates": settings.eigenstates_tolerance,
            },
            maxiter=settings.max_iterations * number,
            txt=f"scf-{number}.txt",
            **options,
        )
        atoms.calc = calculator
        try:
            atoms.get_potential_energy()
        except KohnShamConvergenceError:
            continue
        return calculator, number
    raise NotConverged(
        f"SCF did not converge in {len(ATTEMPTS)} attempts of "
        f"{settings.max_iterations} iterations and more"
    )


def _hubbard(settings: DFTSettings, symbols: Any) -> dict[str, str]:
    return {
        element: f"d,{value:g}"
        for element, value in settings.hubbard_u.items()
        if element in set(symbols)
    }


def _gaps(calculator: Any, cell: Structure, settings: DFTSettings) -> dict[str, Any]:
    """Measure the gap on the SCF mesh, and again on a denser one where there seems to be one.

    A mesh only ever overestimates the gap, so bands that overlap on the first mesh are a metal.
    ``gap_confirmed`` says whether the denser mesh was run.
    """
    scf = _gap_of(calculator)
    record: dict[str, Any] = {"band_gap_scf": scf.gap, "gap_k_points": None, "band_gap_dense": None}
    lowest = scf
    if scf.gap > 0:
        started = time.monotonic()
        size = mesh(cell, _densities(cell, settings)[1])
        dense_calculator = calculator.fixed_density(
            kpts={"size": size, "gamma": True},
            nbands=-settings.empty_bands,
            convergence={
                "bands": scf.occupied_bands + 1,
                "eigenstates": settings.eigenstates_tolerance,
            },
            txt="gap.txt",
        )
        dense = _gap_of(dense_calculator)
        lowest = min(scf, dense, key=lambda found: found.gap)
        record |= {
            "band_gap_dense": dense.gap,
            "gap_k_points": list(size),
            "gap_seconds": time.monotonic() - started,
        }
    record |= {
        "band_gap": lowest.gap,
        "is_metal": lowest.gap <= 0,
        "direct": lowest.direct,
        "gap_confirmed": record["band_gap_dense"] is not None,
        "fermi_level": float(calculator.get_fermi_level()),
    }
    return record


def _gap_of(calculator: Any) -> BandGap:
    spins, k_points = calculator.get_number_of_spins(), len(calculator.get_ibz_k_points())
    eigenvalues = np.array(
        [[calculator.get_eigenvalues(kpt=k, spin=s) for k in range(k_points)] for s in range(spins)]
    )
    return band_gap(
        eigenvalues,
        electrons=float(calculator.get_number_of_electrons()),
        fermi_level=float(calculator.get_fermi_level()),
    )


def _record(cell: Structure) -> dict[str, Any]:
    from db.crystals import structure_to_record

    return structure_to_record(cell)


def _log_tail() -> str:
    logs = sorted(Path.cwd().glob("*.txt"), key=lambda path: path.stat().st_mtime)
    if not logs:
        return ""
    return "\n".join(logs[-1].read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])


def write_atomically(path: Path, document: dict[str, Any]) -> None:
    """Write JSON so that a reader sees all of it or nothing."""
    partial = path.with_suffix(".partial")
    with partial.open("w") as stream:
        json.dump(document, stream, allow_nan=False)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)


def main(arguments: list[str]) -> int:
    """Run the calculation of an input file.

    Returns:
        0 when the output file holds an answer, be it a result or an explained failure.
    """
    if len(arguments) != 2:
        print("usage: python -m agents.verify.gpaw_runner INPUT.json OUTPUT.json", file=sys.stderr)
        return 2
    from db.crystals import record_to_structure

    source, target = (Path(argument).resolve() for argument in arguments)
    task = json.loads(source.read_text())
    try:
        result = calculate(
            record_to_structure(task["structure"]),
            DFTSettings.model_validate(task["settings"]),
            bool(task.get("molecule", False)),
        )
    except (RuntimeError, ValueError, ArithmeticError, MemoryError) as error:
        kind = "scf" if isinstance(error, NotConverged) else type(error).__name__
        failure = {"kind": kind, "message": str(error), "log_tail": _log_tail()}
        write_atomically(target, {"error": failure})
        return 0
    write_atomically(target, {"result": result})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
