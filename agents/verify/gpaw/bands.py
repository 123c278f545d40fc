"""Bands along the high-symmetry path, with GPAW, on the density of a finished calculation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.verify.gpaw.ground_state import DENSITY, ground_state, is_flat
from agents.verify.properties.band_path import KPath, band_edges, high_symmetry_path
from agents.verify.tasks import TaskInput
from db.crystals import structure_to_record

if TYPE_CHECKING:
    from pymatgen.core import Structure

DECIMALS = 4
"""Eigenvalues are stored to 0.1 meV."""


def starting_density(task: TaskInput) -> tuple[Any, Structure, dict[str, Any]]:
    """Read the density that the parent left, or compute it again where it is gone.

    Returns:
        GPAW's calculator, the cell it computed, and the start of the task's result: ``density``
        (``"parent"`` or ``"computed again"``), the cell and its number of electrons.

    Raises:
        NotConverged: It was gone, and no attempt reached self-consistency.
        ValueError: A molecule has neither bands nor a mesh.
    """
    if task.molecule:
        raise ValueError(f"a molecule in a box has no {task.task}")
    folder = None if task.parent is None else task.parent.folder
    if folder is not None and (folder / DENSITY).is_file():
        from gpaw import GPAW

        calculator, cell, origin = GPAW(folder / DENSITY, txt=None), task.structure, "parent"
    else:
        calculator, cell, _ = ground_state(task)
        origin = "computed again"
    return (
        calculator,
        cell,
        {
            "density": origin,
            "n_atoms": len(cell),
            "formula": cell.composition.reduced_formula,
            "structure": structure_to_record(cell),
            "valence_electrons": float(calculator.get_number_of_electrons()),
            "spin_polarised": int(calculator.get_number_of_spins()) == 2,
        },
    )


def bands(task: TaskInput) -> dict[str, Any]:
    """Compute the bands along the path, and find the gap on it.

    Eigenvalues are in eV from the highest occupied one on the path, or from the Fermi level of a
    metal; all occupied bands and ``empty_bands`` above them, as ``eigenvalues[spin][k][band]``.

    Args:
        task: Options: ``density``, points per Å^-1 of path.

    Returns:
        Plain JSON values: ``path`` (labels), ``k_points`` and ``distances`` (1/Å), ``special``
        (points by label), ``eigenvalues``, ``zero`` (eV, what they are measured from),
        ``band_gap_path``, ``direct_gap_path``, ``direct``, ``top`` and ``bottom`` (where the edges
        are).

    Raises:
        NotConverged: The density was gone and could not be computed again.
    """
    calculator, cell, record = starting_density(task)
    path = high_symmetry_path(cell, float(task.options["density"]), flat=is_flat(task))
    highest = math.ceil(record["valence_electrons"] / (1 if record["spin_polarised"] else 2))
    solved = calculator.fixed_density(
        kpts=path.points,
        symmetry="off",
        nbands=-task.settings.empty_bands,
        convergence={
            "bands": highest + 1 if not record["spin_polarised"] else -1,
            "eigenstates": task.settings.eigenstates_tolerance,
        },
        txt="bands.txt",
    )
    eigenvalues = np.asarray(solved.eigenvalues())
    fermi_level = float(calculator.get_fermi_level())
    return record | path_record(path, eigenvalues, record["valence_electrons"], fermi_level)


def path_record(
    path: KPath, eigenvalues: np.ndarray, electrons: float, fermi_level: float
) -> dict[str, Any]:
    """Put bands into plain JSON values; see `bands`.

    Args:
        path: Where they were computed.
        eigenvalues: Shape (spins, k-points, bands), eV.
        electrons: Valence electrons in the cell.
        fermi_level: Of the self-consistent calculation, eV.
    """
    edges = band_edges(eigenvalues, electrons, fermi_level)
    metal = edges is None or edges.gap <= 0
    zero = fermi_level if edges is None or metal else edges.top_energy
    return {
        "path": path.path,
        "k_points": np.round(path.points, 6).tolist(),
        "distances": np.round(path.distances, 6).tolist(),
        "special": {label: list(point) for label, point in path.special.items()},
        "eigenvalues": np.round(eigenvalues - zero, DECIMALS).tolist(),
        "zero": zero,
        "fermi_level": fermi_level,
        "is_metal": metal,
        "band_gap_path": 0.0 if edges is None else edges.gap,
        "direct_gap_path": 0.0 if edges is None else edges.direct_gap,
        "direct": edges is not None and edges.direct,
        "top": None if edges is None or metal else path.locate(edges.top),
        "bottom": None if edges is None or metal else path.locate(edges.bottom),
    }
