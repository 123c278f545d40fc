"""Relaxation of a crystal with GPAW, cell included, at the cut-off where the stress converges.

With a plane-wave basis of fixed size the stress carries Pulay's error (SrTiO3: 54 GPa at 400 eV,
4.8 at 600, 0.3 at 800), hence a cut-off of its own, `DFTSettings.relax_cutoff`. The energy of the
final cell belongs to the basis of the first one: the ``static`` calculation that follows computes
it again with its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from agents.slab import layer_volume
from agents.verify.gpaw.calculator import NotConverged, atoms_of, converge, parameters
from agents.verify.gpaw.ground_state import is_flat, prepared_cell, slab_fields
from agents.verify.tasks import TaskInput
from db.crystals import structure_to_record

GPA = 160.21766208  # eV/Å^3 in GPa
MAX_STEP = 0.1  # Å
IN_PLANE = np.array([1, 1, 0, 0, 0, 1])  # Voigt components xx, yy, xy


class NotRelaxed(RuntimeError):
    """Forces or stress stay above the limits; other SCF settings would not change that."""


def relax(task: TaskInput) -> dict[str, Any]:
    """Relax positions and cell within the crystal's symmetry; the cell of a slab in its plane only.

    BFGS over the cell's logarithm (ASE's FrechetCellFilter) with forces and stress made symmetric.
    The stress of a slab is that in its plane, per volume of the layer (`agents.slab.layer_volume`).

    Args:
        task: What to relax.

    Returns:
        Plain JSON values: the relaxed ``structure``; for each step energy (eV), largest force
        (eV/Å), largest stress component and pressure (GPa; of a slab the mean of the two in its
        plane); the change of the volume.

    Raises:
        NotConverged: A self-consistent calculation does not converge.
        NotRelaxed: Forces or stress stay above the limits.
        ValueError: A molecule was asked for.
    """
    from ase.constraints import FixSymmetry
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS
    from gpaw import KohnShamConvergenceError

    if task.molecule:
        raise ValueError("molecules in boxes are not relaxed: their bond lengths are given")
    settings = task.settings
    cell, size, symmetry = prepared_cell(task)
    flat = is_flat(task)
    atoms, spin = atoms_of(cell, settings, molecule=False, flat=flat)
    cutoff = max(settings.relax_cutoff, settings.cutoff)
    keywords = parameters(
        atoms, settings, size, spin=spin, cutoff=cutoff, polar=symmetry.get("polar")
    )
    calculator, how = converge(atoms, keywords, task.changes)
    atoms.set_constraint(FixSymmetry(atoms, symprec=symmetry["symprec"]))
    moving = FrechetCellFilter(atoms, mask=IN_PLANE if flat else None)
    optimiser = BFGS(moving, logfile="relax.txt", maxstep=MAX_STEP)
    steps: list[dict[str, float]] = []
    try:
        for _ in optimiser.irun(fmax=0.0, steps=settings.relax_steps):
            steps.append(_step(atoms, flat))
            if _is_relaxed(steps[-1], task):
                break
    except KohnShamConvergenceError as error:
        raise NotConverged(f"SCF did not converge at step {len(steps)}: {error}") from error
    if not _is_relaxed(steps[-1], task):
        raise NotRelaxed(
            f"not relaxed in {settings.relax_steps} steps: a force of "
            f"{steps[-1]['max_force']:.3f} eV/Å and {steps[-1]['max_stress_gpa']:.2f} GPa are left"
        )
    relaxed = cell.copy()
    relaxed.lattice = type(cell.lattice)(np.asarray(atoms.cell))
    for site, position in zip(relaxed, atoms.get_scaled_positions(), strict=True):
        site.frac_coords = position
    return {
        "n_atoms": len(atoms),
        "formula": cell.composition.reduced_formula,
        "structure": structure_to_record(relaxed),
        "initial_structure": structure_to_record(cell),
        "symmetry": symmetry,
        **(slab_fields(task, relaxed, symmetry) if flat else {}),
        "cutoff": cutoff,
        "k_points": list(size),
        "irreducible_k_points": len(calculator.get_ibz_k_points()),
        "hubbard_u": settings.hubbard_of(atoms.get_chemical_symbols()),
        "spin_polarised": spin,
        "steps": steps,
        "n_steps": len(steps) - 1,
        "energy_change_per_atom": (steps[-1]["energy"] - steps[0]["energy"]) / len(atoms),
        "volume_change": float(relaxed.volume / cell.volume - 1.0),
        **how,
        "converged": True,
    }


def _step(atoms: Any, flat: bool) -> dict[str, float]:
    from pymatgen.core import Structure

    stress = np.asarray(atoms.get_stress())
    if flat:
        slab = Structure(
            np.asarray(atoms.cell), atoms.get_chemical_symbols(), atoms.get_scaled_positions()
        )
        stress = stress * IN_PLANE * atoms.get_volume() / layer_volume(slab)
    return {
        "energy": float(atoms.get_potential_energy(force_consistent=False)),
        "max_force": float(np.linalg.norm(atoms.get_forces(), axis=1).max()),
        "max_stress_gpa": float(np.abs(stress).max() * GPA),
        "pressure_gpa": float(-stress[: 2 if flat else 3].mean() * GPA),
        "volume": float(atoms.get_volume()),
    }


def _is_relaxed(step: dict[str, float], task: TaskInput) -> bool:
    settings = task.settings
    return (
        step["max_force"] <= settings.relax_force
        and step["max_stress_gpa"] <= settings.relax_stress * GPA
    )
