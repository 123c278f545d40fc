"""The workflow of one candidate: relax (where wanted) → static → gap.

Each step is a calculation and a Firework of its own and starts from the one before. With
``separate_gap`` off, the gap is part of ``static``: one process less, which is what small cells
with the preset ``fast`` are quickest with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agents.verify.backend import DFTBackend, S
from agents.verify.properties.references import is_molecule
from agents.verify.settings import VerifySettings
from agents.verify.tasks import Kind, Task, options_of

if TYPE_CHECKING:
    from pymatgen.core import Structure

COMPOUND = "compound"
"""The step whose energy counts, under the name that records older than workflows gave it."""


@dataclass(frozen=True)
class Step:
    """One calculation of a candidate.

    Attributes:
        name: What it is called among the candidate's calculations.
        task: What is computed.
        options: Options of the task.
    """

    name: str
    task: Task
    options: dict[str, Any] = field(default_factory=dict)


def steps(settings: VerifySettings) -> tuple[Step, ...]:
    """Return the calculations of a candidate, each of which starts from the one before."""
    flat = {} if settings.slab_vacuum is None else {"vacuum": settings.slab_vacuum}
    chosen = []
    if settings.relax:
        chosen.append(Step("relax", Task.RELAX, flat))
    if settings.has_separate_gap:
        chosen += [
            Step(COMPOUND, Task.STATIC, {"gap": False} | flat),
            Step("gap", Task.GAP, flat),
        ]
    else:
        chosen.append(Step(COMPOUND, Task.STATIC, {"gap": True} | flat))
    return tuple(chosen)


def estimate(
    backend: DFTBackend[S], structure: Structure, dft: S, settings: VerifySettings
) -> float:
    """Estimate the cost of a candidate's whole workflow on one core, s; infinite where unsupported.

    Args:
        backend: The DFT code.
        structure: The crystal that it starts from.
        dft: The level of theory.
        settings: The campaign's settings.
    """
    return math.fsum(
        backend.estimate_task(structure, dft, step.task, options_of(step.task, step.options))
        for step in steps(settings)
    )


def category(task: str) -> str:
    """Name the queue of a task; a FireWorks worker of a category takes only its own."""
    return f"dft-{task}"


def walltime(seconds: float) -> str:
    """Write the longest time a job may need as queue systems read it, with ten minutes to spare.

    Only ``qlaunch --reserve`` asks; else a job's limit is that of ``my_qadapter.yaml``.

    Returns:
        ``hours:minutes:seconds``.
    """
    minutes = math.ceil(seconds / 60) + 10
    return f"{minutes // 60:02d}:{minutes % 60:02d}:00"


def leaves_restart_files(kind: Kind | str, task: str) -> bool:
    """Say whether other tasks may start from the files of a calculation."""
    return kind == "compound" and task == Task.STATIC


def reference_options(element: str) -> dict[str, Any]:
    """Return the options of an element's reference calculation: its energy, without a gap.

    Of a molecule no gap is computed whatever the options say, so they stay the default ones, under
    which molecules have been recorded.
    """
    return {} if is_molecule(element) else {"gap": False}
