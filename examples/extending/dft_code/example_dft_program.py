"""The program behind the backend: ``python -m example_dft_program INPUT.json OUTPUT.json``.

It is no DFT: a Lennard-Jones crystal and a gap by rule of thumb, which take no time. What it shows
is what such a program reads and writes, the failures it explains included.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.lj import LennardJones
from ase.data import atomic_numbers, covalent_radii
from pymatgen.core import Structure

from agents.relax.calculator import atoms_from_structure
from agents.verify.tasks import Task, TaskInput, write_atomically
from db.crystals import structure_to_record


def main(source: Path, target: Path) -> None:
    """Compute one calculation and write its answer, whole or not at all."""
    task = TaskInput.read(json.loads(source.read_text()))
    try:
        answer = {"result": calculate(task)}
    except ValueError as error:  # explained: the candidate fails with these words, and no retry
        failure = {"kind": "unsupported", "message": str(error), "log_tail": ""}
        answer = {"error": failure}
    write_atomically(target, answer)


def calculate(task: TaskInput) -> dict[str, Any]:
    """Run a task and measure what it took.

    Raises:
        ValueError: The program does not do this task.
    """
    if task.task not in (Task.STATIC, Task.GAP):
        raise ValueError(f"the example has no task {task.task}")
    started = time.monotonic()
    return {
        **energy_and_gap(task.structure),
        "task": str(task.task),
        "changes": task.changes,  # of this attempt, where it is a retry
        "wall_seconds": time.monotonic() - started,
        "cpu_seconds": time.process_time(),
        "max_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def energy_and_gap(structure: Structure) -> dict[str, Any]:
    """Return what `discovery` reads: an energy (eV/atom), a gap (eV), the crystal, a few flags."""
    radii = [covalent_radii[atomic_numbers[site.specie.symbol]] for site in structure]
    atoms = atoms_from_structure(structure)
    atoms.calc = LennardJones(sigma=2 ** (5 / 6) * float(np.mean(radii)), epsilon=0.3, rc=6.0)
    polarity = float(np.std([site.specie.X for site in structure]))
    gap = max(0.0, 4.0 * polarity - 1.0)
    return {
        "energy_per_atom": float(atoms.get_potential_energy()) / len(structure) - polarity,
        "structure": structure_to_record(structure),
        "n_atoms": len(structure),
        "band_gap": gap,
        "is_metal": gap == 0.0,
        "direct": False,
        "gap_confirmed": True,  # a second, denser mesh gave the same gap
        "gap_consistent": True,
        "spin_polarised": False,
        "magnetic_moment": 0.0,  # μB per cell
        "symmetry": {},
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
