"""Total energy and band gap, confirmed on a denser mesh, with GPAW."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.verify.gpaw.ground_state import DENSITY, ground_state, is_flat
from agents.verify.properties.gap import BandGap, Occupations, band_gap, check_occupations
from agents.verify.setup.symmetry import mesh
from agents.verify.tasks import TaskInput
from db.crystals import structure_to_record

if TYPE_CHECKING:
    from pymatgen.core import Structure

GAP_TOLERANCE = 1e-6
"""Residual of the states of the denser mesh, eV^2 per electron: their energies are second order in
it, and a total energy is not made of them."""


def static(task: TaskInput) -> dict[str, Any]:
    """Compute the total energy, and the gap where the options ask for it.

    Args:
        task: Options: ``gap``.

    Returns:
        The fields of `ground_state`, and those of `gaps` where asked for and no molecule.
    """
    calculator, cell, result = ground_state(task)
    if task.molecule or not task.options["gap"]:
        return result
    return result | gaps(calculator, cell, task)


def gap(task: TaskInput) -> dict[str, Any]:
    """Measure the gap, starting from the density that a ``static`` parent left.

    Args:
        task: Its parent's ``density.gpw`` is read; where that is gone, or where there is no parent,
            the density is computed again.

    Returns:
        The fields of `gaps`, ``density`` (``"parent"`` or ``"computed again"``) and the cell; the
        fields of ``static``, too, where that was computed again.
    """
    folder = None if task.parent is None else task.parent.folder
    if folder is None or not (folder / DENSITY).is_file():
        calculator, cell, state = ground_state(task)
        return {**state, "density": "computed again", **gaps(calculator, cell, task)}
    from gpaw import GPAW

    calculator = GPAW(folder / DENSITY, txt=None)
    return {
        "n_atoms": len(task.structure),
        "formula": task.structure.composition.reduced_formula,
        "structure": structure_to_record(task.structure),
        "density": "parent",
        **gaps(calculator, task.structure, task),
    }


def gaps(calculator: Any, cell: Structure, task: TaskInput) -> dict[str, Any]:
    """Measure the gap on the SCF mesh, and again on a denser one where there seems to be one.

    A mesh only ever overestimates the gap, so bands that overlap on the first mesh are a metal.

    Args:
        calculator: GPAW's, converged or read from a file.
        cell: The crystal it computed.
        task: Its level of theory and options count.

    Returns:
        Plain JSON values, eV. ``gap_confirmed``: the denser mesh was run; ``gap_consistent``: the
        occupations give the same gap and hold all electrons
        (`agents.verify.properties.gap.Occupations`).
    """
    settings = task.settings
    scf, occupations = _gap_of(calculator)
    record: dict[str, Any] = {"band_gap_scf": scf.gap, "gap_k_points": None, "band_gap_dense": None}
    lowest = scf
    if scf.gap > 0:
        started = time.monotonic()
        _, density = settings.k_densities(len(cell.composition))
        size = mesh(cell, density, flat=is_flat(task))
        dense_calculator = calculator.fixed_density(
            kpts={"size": size, "gamma": True},
            nbands=-settings.empty_bands,
            convergence={
                "bands": scf.occupied_bands + 1,
                "eigenstates": max(settings.eigenstates_tolerance, GAP_TOLERANCE),
            },
            txt="gap.txt",
        )
        dense, occupations = _gap_of(dense_calculator)
        lowest = min(scf, dense, key=lambda found: found.gap)
        record |= {
            "band_gap_dense": dense.gap,
            "gap_k_points": list(size),
            "gap_irreducible_k_points": len(dense_calculator.get_ibz_k_points()),
            "gap_seconds": time.monotonic() - started,
        }
    record |= {
        "band_gap": lowest.gap,
        "is_metal": lowest.gap <= 0,
        "direct": lowest.direct,
        "gap_confirmed": record["band_gap_dense"] is not None,
        "gap_consistent": occupations.consistent,
        "band_gap_occupations": occupations.gap,
        "electrons_in_occupations": occupations.electrons,
        "fermi_level": float(calculator.get_fermi_level()),
    }
    return record


def _gap_of(calculator: Any) -> tuple[BandGap, Occupations]:
    eigenvalues = np.asarray(calculator.eigenvalues())
    electrons = float(calculator.get_number_of_electrons())
    fermi_level = float(calculator.get_fermi_level())
    found = band_gap(eigenvalues, electrons=electrons, fermi_level=fermi_level)
    check = check_occupations(
        found,
        eigenvalues,
        np.asarray(calculator.occupations()),
        np.asarray(calculator.get_k_point_weights()),
        electrons,
    )
    return found, check
