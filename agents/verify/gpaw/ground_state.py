"""The self-consistent state of a crystal or molecule at fixed geometry, with GPAW."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.verify.gpaw.calculator import atoms_of, converge, parameters
from agents.verify.setup.slab_symmetry import slab_record
from agents.verify.setup.symmetry import mesh, symmetrise
from agents.verify.tasks import TaskInput
from db.crystals import structure_to_record

if TYPE_CHECKING:
    from pymatgen.core import Structure

DENSITY = "density.gpw"
"""File that a static calculation leaves for those that start from it; no wave functions."""


def ground_state(task: TaskInput) -> tuple[Any, Structure, dict[str, Any]]:
    """Compute the self-consistent state and leave its density behind.

    Returns:
        GPAW's calculator, the cell it computed, and plain JSON values: energies in eV for that
        cell, ``energy_per_atom`` for comparisons, moments in μB, the largest force in eV/Å.

    Raises:
        NotConverged: Self-consistency was not reached.
    """
    started = time.monotonic()
    cell, size, symmetry = prepared_cell(task)
    settings = task.settings
    flat = is_flat(task)
    atoms, spin = atoms_of(cell, settings, task.molecule, flat=flat)
    keywords = parameters(
        atoms, settings, size, spin=spin, molecule=task.molecule, polar=symmetry.get("polar")
    )
    calculator, how = converge(atoms, keywords, task.changes)
    energy = float(atoms.get_potential_energy(force_consistent=False))
    result: dict[str, Any] = {
        "energy": energy,
        "energy_per_atom": energy / len(atoms),
        "n_atoms": len(atoms),
        "formula": cell.composition.reduced_formula,
        "structure": structure_to_record(cell),
        "symmetry": symmetry,
        **(slab_fields(task, cell, symmetry) if flat else {}),
        "max_force": float(np.linalg.norm(atoms.get_forces(), axis=1).max()),
        "cutoff": settings.cutoff,
        "hubbard_u": settings.hubbard_of(atoms.get_chemical_symbols()),
        **_magnetism(calculator, atoms, spin),
        "k_points": list(size),
        "irreducible_k_points": len(calculator.get_ibz_k_points()),
        "bands": int(calculator.get_number_of_bands()),
        "valence_electrons": float(calculator.get_number_of_electrons()),
        "scf_iterations": int(calculator.get_number_of_iterations()),
        **how,
        "converged": True,
        "scf_seconds": time.monotonic() - started,
    }
    if not task.molecule:
        calculator.write(Path(DENSITY), mode="", include_projections=False)
    return calculator, cell, result


def prepared_cell(
    task: TaskInput,
) -> tuple[Structure, tuple[int, int, int], dict[str, Any]]:
    """Return the cell to compute, its k-point mesh, and what symmetrising did to it."""
    if task.molecule:
        return task.structure, (1, 1, 1), {}
    settings = task.settings
    ideal = symmetrise(
        task.structure,
        settings.symprec,
        settings.max_displacement,
        task.options.get("vacuum"),
    )
    cell = ideal.structure
    density, _ = settings.k_densities(len(cell.composition))
    return cell, mesh(cell, density, flat=is_flat(task)), ideal.record()


def slab_fields(task: TaskInput, cell: Structure, symmetry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a result says of a slab beside the fields of every crystal."""
    return {"slab": slab_record(task.options["vacuum"], cell, polar=bool(symmetry["polar"]))}


def is_flat(task: TaskInput) -> bool:
    """Say whether a task computes a slab."""
    return task.options.get("vacuum") is not None


def _magnetism(calculator: Any, atoms: Any, spin: bool) -> dict[str, Any]:
    if not spin:
        return {"spin_polarised": False, "magnetic_moment": 0.0}
    return {
        "spin_polarised": True,
        "magnetic_moment": float(calculator.get_magnetic_moment()),
        "initial_moments": [float(moment) for moment in atoms.get_initial_magnetic_moments()],
        "site_moments": [float(moment) for moment in calculator.get_magnetic_moments()],
    }
