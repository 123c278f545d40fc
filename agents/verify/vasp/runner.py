"""One VASP calculation in a process of its own: ``python -m agents.verify.vasp.runner IN OUT``.

Input and output are the JSON files of `agents.verify.tasks`. VASP runs in the current folder, under
custodian; a denser mesh that confirms a gap runs in the folder ``gap`` below. The POTCAR, which is
licensed, is removed afterwards: POTCAR.spec says which it was.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.verify.setup.slab_symmetry import slab_record
from agents.verify.setup.symmetry import symmetrise
from agents.verify.tasks import Task, options_of, write_atomically
from agents.verify.vasp.execution import VASPFailed, VASPUnavailable, run, vasp_command
from agents.verify.vasp.inputs import DENSITY, input_set, write_inputs
from agents.verify.vasp.potcar import MissingPotcar, potcars
from agents.verify.vasp.results import (
    BrokenOutput,
    Unconverged,
    check_converged,
    gap_of,
    read_outcar,
    read_vasprun,
    record,
    version,
)
from agents.verify.vasp.settings import VASPSettings
from db.crystals import structure_to_record

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from pymatgen.io.vasp.outputs import Vasprun

GAP_FOLDER = "gap"


class WrongVersion(RuntimeError):
    """Another version of VASP ran than the calculation's identity says."""


@dataclass(frozen=True)
class VASPTask:
    """What the runner is given; see `agents.verify.tasks.TaskInput`.

    Attributes:
        task: ``relax``, ``static`` or ``gap``.
        cell: The cell to compute.
        symmetry: What symmetrising found; empty for molecules.
        settings: The calculation's settings.
        molecule: Γ only, no gap.
        density: Charge density of the parent; None where there is none.
        options: Options of the task.
    """

    task: Task
    cell: Structure
    symmetry: dict[str, Any]
    settings: VASPSettings
    molecule: bool
    density: Path | None
    options: dict[str, Any]

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> VASPTask:
        """Read the input file's JSON.

        Raises:
            ValueError: The task or a setting is unknown, or the crystal cannot be standardised.
        """
        from db.crystals import record_to_structure

        task = Task(document.get("task", Task.STATIC))
        settings = VASPSettings.model_validate(document["settings"])
        molecule = bool(document.get("molecule", False))
        parent = document.get("parent") or {"result": {}, "folder": None}
        structure = record_to_structure(parent["result"].get("structure", document["structure"]))
        symmetry: dict[str, Any] = {}
        if not molecule:
            ideal = symmetrise(
                structure,
                settings.symprec,
                settings.max_displacement,
                (document.get("options") or {}).get("vacuum"),
            )
            structure, symmetry = ideal.structure, ideal.record()
        density = Path(parent["folder"]) / DENSITY if parent["folder"] else None
        return cls(
            task=task,
            cell=structure,
            symmetry=symmetry,
            settings=settings,
            molecule=molecule,
            density=density if density is not None and density.is_file() else None,
            options=options_of(task, document.get("options")),
        )

    @property
    def polar(self) -> bool | None:
        """Whether a slab may have a dipole across it; None for bulk crystals."""
        return self.symmetry.get("polar")


def calculate(task: VASPTask, folder: Path) -> dict[str, Any]:
    """Run a task in a folder and read what VASP found.

    Args:
        task: What to compute.
        folder: Where VASP runs.

    Returns:
        Plain JSON values as every code's (energies in eV for the cell, ``energy_per_atom``, gaps in
        eV, seconds), and under ``vasp`` what only VASP has: version, INCAR, POTCARs, U, and
        ``corrections``, what custodian changed.

    Raises:
        VASPUnavailable: VASP cannot be started.
        MissingPotcar: A POTCAR is missing.
        VASPFailed, BrokenOutput, Unconverged, WrongVersion: It gave no answer that can be used.
    """
    started = time.monotonic()
    command = vasp_command()
    start_from = task.density if task.task == Task.GAP else None
    vasprun, result = _run(task, task.task, folder, command, start_from)
    result |= {"task": str(task.task), "symmetry": task.symmetry}
    if task.polar is not None:
        result["slab"] = slab_record(task.options["vacuum"], task.cell, polar=task.polar)
    if not task.molecule and task.task != Task.RELAX and task.options.get("gap", True):
        result |= _gaps(task, vasprun, result, folder, command)
    cores = result["vasp"]["cores"] or 1
    wall = time.monotonic() - started
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    result |= {
        "wall_seconds": wall,
        "cpu_seconds": wall * cores,
        "max_memory_mb": children.ru_maxrss / 1024,
    }
    return result


def _run(
    task: VASPTask, what: Task, folder: Path, command: list[str], start_from: Path | None
) -> tuple[Vasprun, dict[str, Any]]:
    """Run VASP once, under custodian, and read its answer."""
    chosen = potcars([site.specie.symbol for site in task.cell], task.settings)
    _check_potcars(task.settings, {element: one.record() for element, one in chosen.items()})
    inputs = input_set(task.cell, task.settings, what, molecule=task.molecule, polar=task.polar)
    write_inputs(inputs, folder, start_from=start_from)
    try:
        corrections = run(folder, command)
    finally:
        (folder / "POTCAR").unlink(missing_ok=True)
    vasprun = read_vasprun(folder / "vasprun.xml")
    check_converged(vasprun)
    wanted = task.settings.version
    if wanted is not None and version(vasprun) != wanted:
        raise WrongVersion(
            f"VASP {version(vasprun)} ran, but the calculation is of version {wanted}: set "
            "DISCOVERY_VASP_VERSION to the version that DISCOVERY_VASP_COMMAND starts"
        )
    result = record(vasprun, read_outcar(folder / "OUTCAR"))
    moments = inputs.structure.site_properties.get("magmom")
    if moments is not None:  # of the crystal that was asked for: the next step keeps its order
        ordered = vasprun.final_structure.copy()
        ordered.add_site_property("magmom", list(moments))
        result["structure"] = structure_to_record(ordered)
    result["scf_attempt"] = 1 + len(corrections)
    result["vasp"]["corrections"] = corrections
    return vasprun, result


def _gaps(
    task: VASPTask, vasprun: Vasprun, result: dict[str, Any], folder: Path, command: list[str]
) -> dict[str, Any]:
    """Take the gap of the mesh that was run, and confirm one on the denser mesh."""
    found, occupations = gap_of(vasprun)
    gaps: dict[str, Any] = {
        "band_gap_scf": found.gap,
        "band_gap_dense": None,
        "gap_k_points": None,
    }
    lowest = found
    if task.task == Task.GAP:  # this was the denser mesh
        gaps |= {"band_gap_scf": None, "band_gap_dense": found.gap}
        gaps |= {"gap_k_points": result["k_points"]}
    elif found.gap > 0:
        started = time.monotonic()
        below = folder / GAP_FOLDER
        density = folder / DENSITY if (folder / DENSITY).is_file() else None
        dense_run, dense_result = _run(task, Task.GAP, below, command, density)
        dense, occupations = gap_of(dense_run)
        lowest = min(found, dense, key=lambda one: one.gap)
        gaps |= {
            "band_gap_dense": dense.gap,
            "gap_k_points": dense_result["k_points"],
            "gap_irreducible_k_points": dense_result["irreducible_k_points"],
            "gap_corrections": dense_result["vasp"]["corrections"],
            "gap_seconds": time.monotonic() - started,
        }
        (below / DENSITY).unlink(missing_ok=True)
    return gaps | {
        "band_gap": lowest.gap,
        "is_metal": lowest.gap <= 0,
        "direct": lowest.direct,
        "gap_confirmed": gaps["band_gap_dense"] is not None,
        "gap_consistent": occupations.consistent,
        "band_gap_occupations": occupations.gap,
        "electrons_in_occupations": occupations.electrons,
        "fermi_level": float(vasprun.efermi),
    }


def _check_potcars(settings: VASPSettings, here: dict[str, dict[str, Any]]) -> None:
    """Refuse POTCARs that differ from those of the calculation's identity."""
    recorded = settings.potcars
    different = [name for name in sorted(recorded) if recorded[name] != here.get(name)]
    if different:
        names = ", ".join(
            f"{name}: {recorded[name]['title']} recorded, "
            f"{here.get(name, {}).get('title', 'none')} here"
            for name in different
        )
        raise MissingPotcar(f"the POTCARs of this machine are not the recorded ones ({names})")


def main(arguments: list[str]) -> int:
    """Run the calculation of an input file, in the folder of that file.

    Returns:
        0 when the output file holds an answer, be it a result or an explained failure.
    """
    if len(arguments) != 2:
        print("usage: python -m agents.verify.vasp.runner INPUT.json OUTPUT.json", file=sys.stderr)
        return 2
    source, target = (Path(argument).resolve() for argument in arguments)
    try:
        task = VASPTask.read(json.loads(source.read_text()))
        answer: dict[str, Any] = {"result": calculate(task, source.parent)}
    except (RuntimeError, ValueError, ArithmeticError, OSError, MemoryError) as error:
        answer = {"error": {"kind": _kind(error), "message": str(error), "log_tail": ""}}
    write_atomically(target, answer)
    return 0


def _kind(error: Exception) -> str:
    if isinstance(error, VASPFailed):
        return error.kind
    kinds = {
        VASPUnavailable: "unavailable",
        MissingPotcar: "unavailable",
        WrongVersion: "unavailable",
        BrokenOutput: "output",
        Unconverged: "scf",
    }
    return kinds.get(type(error), type(error).__name__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
