"""Input files of VASP: pymatgen's sets of the Materials Project, unchanged but for molecules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.verify.tasks import Task
from agents.verify.vasp.cost import mesh
from agents.verify.vasp.settings import VASPSettings, input_sets

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from pymatgen.io.vasp.sets import VaspInputSet

INPUTS = ("INCAR", "KPOINTS", "POSCAR", "POTCAR")
DENSITY = "CHGCAR"

MOLECULE_INCAR: dict[str, Any] = {"ISMEAR": 0, "SIGMA": 0.01}
TRIPLET: dict[str, Any] = {"NUPDOWN": 2, "MAGMOM": {"O": 1.0}}  # O2


def input_set(
    cell: Structure,
    settings: VASPSettings,
    task: Task,
    *,
    molecule: bool = False,
    polar: bool | None = None,
) -> VaspInputSet:
    """Return pymatgen's input set of a calculation.

    Args:
        cell: The symmetrised cell, or a molecule in its box.
        settings: The level of theory.
        task: ``relax``, ``static``, or ``gap``: the static set on the mesh that confirms a gap.
        molecule: Γ only, narrow smearing, O2 as a triplet.
        polar: The cell is a slab, and whether it may have a dipole across it (IDIPOL 3): one
            k-point along c, and a relaxation keeps the cell, because VASP cannot keep c alone.

    Raises:
        ValueError: VASP does not do this task here.
    """
    sets = input_sets(settings.input_set, settings.xc)
    if molecule:
        return sets.static(cell, **sets.options, **_of_molecule(cell))
    if polar is not None:
        return _of_slab(cell, settings, task, polar)
    if task == Task.RELAX:
        return sets.relax(cell, **sets.options)
    if task == Task.STATIC:
        return sets.static(cell, **sets.options, **_mesh(settings.k_points))
    if task == Task.GAP:
        return sets.static(cell, **sets.options, **_mesh(settings.gap_k_points))
    raise ValueError(f"VASP has no task {task!s} here: choose relax, static or gap")


def write_inputs(inputs: VaspInputSet, folder: Path, *, start_from: Path | None = None) -> None:
    """Write INCAR, KPOINTS (unless the set uses KSPACING), POSCAR and POTCAR.

    Args:
        inputs: From `input_set`.
        folder: Is made.
        start_from: A charge density to start from; the calculation stays self-consistent.

    Raises:
        FileNotFoundError: A POTCAR is missing; `agents.verify.vasp.potcar.potcars` says so better.
    """
    if start_from is not None:
        inputs.user_incar_settings["ICHARG"] = 1
    inputs.write_input(str(folder), potcar_spec=False)
    inputs.write_input(str(folder), potcar_spec=True)  # POTCAR.spec, kept when POTCAR is removed
    if start_from is not None:
        (folder / DENSITY).write_bytes(start_from.read_bytes())


def write_for_inspection(inputs: VaspInputSet, folder: Path) -> list[str]:
    """Write INCAR, KPOINTS, POSCAR and POTCAR.spec; no POTCAR is needed or written.

    Returns:
        The names of the files.
    """
    inputs.write_input(str(folder), potcar_spec=True)
    return sorted(path.name for path in folder.iterdir())


def _mesh(k_points: dict[str, float]) -> dict[str, Any]:
    if "KSPACING" in k_points:
        return {"user_incar_settings": dict(k_points)}
    return {"reciprocal_density": k_points["reciprocal_density"]}


def _of_slab(cell: Structure, settings: VASPSettings, task: Task, polar: bool) -> VaspInputSet:
    from pymatgen.io.vasp.inputs import Kpoints

    sets = input_sets(settings.input_set, settings.xc)
    points = settings.gap_k_points if task == Task.GAP else settings.k_points
    incar: dict[str, Any] = {"KSPACING": None}  # a mesh of our own
    if polar:
        incar |= {"LDIPOL": True, "IDIPOL": 3, "DIPOL": [0.5, 0.5, 0.5]}
    if task == Task.RELAX:
        incar["ISIF"] = 2
    chosen = sets.relax if task == Task.RELAX else sets.static
    return chosen(
        cell,
        **sets.options,
        user_incar_settings=incar,
        user_kpoints_settings=Kpoints.gamma_automatic(mesh(cell, points, flat=True)),
    )


def _of_molecule(cell: Structure) -> dict[str, Any]:
    from pymatgen.io.vasp.inputs import Kpoints

    symbols = {site.specie.symbol for site in cell}
    extra = TRIPLET if symbols == {"O"} else {}
    return {
        "user_incar_settings": {**MOLECULE_INCAR, **extra},
        "user_kpoints_settings": Kpoints.gamma_automatic((1, 1, 1)),
    }
