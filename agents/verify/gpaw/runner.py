"""One GPAW calculation in a process of its own: ``python -m agents.verify.gpaw.runner IN OUT``.

Input and output are the JSON files of `agents.verify.tasks`; the output is written atomically, with
GPAW's logs beside it. Plane waves on one thread.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents.verify.gpaw.bands import bands
from agents.verify.gpaw.calculator import NotConverged
from agents.verify.gpaw.gap import gap, static
from agents.verify.gpaw.hybrid import hybrid
from agents.verify.gpaw.relax import relax
from agents.verify.gpaw.spin_orbit import spin_orbit
from agents.verify.tasks import Task, TaskInput, write_atomically

TASKS: dict[str, Callable[[TaskInput], dict[str, Any]]] = {
    Task.RELAX: relax,
    Task.STATIC: static,
    Task.GAP: gap,
    Task.BANDS: bands,
    Task.SPIN_ORBIT: spin_orbit,
    Task.HYBRID: hybrid,
}
"""What this runner computes; each function returns plain JSON values."""

LOG_TAIL_LINES = 30


def calculate(task: TaskInput) -> dict[str, Any]:
    """Run a task, and measure what it took.

    Returns:
        The task's result with ``task``, ``changes`` (of this attempt), ``wall_seconds``,
        ``cpu_seconds`` and ``max_memory_mb``.

    Raises:
        NotConverged: Self-consistency was not reached.
        ValueError: GPAW does not do this task, or the input is broken.
    """
    if task.task not in TASKS:
        raise ValueError(f"GPAW has no task {task.task!r}: choose one of {', '.join(TASKS)}")
    started, started_cpu = time.monotonic(), time.process_time()
    result = TASKS[task.task](task)
    return {
        **result,
        "task": str(task.task),
        "changes": task.changes,
        "wall_seconds": time.monotonic() - started,
        "cpu_seconds": time.process_time() - started_cpu,
        "max_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _log_tail() -> str:
    logs = sorted(Path.cwd().glob("*.txt"), key=lambda path: path.stat().st_mtime)
    if not logs:
        return ""
    return "\n".join(logs[-1].read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])


def main(arguments: list[str]) -> int:
    """Run the calculation of an input file.

    Returns:
        0 when the output file holds an answer, be it a result or an explained failure.
    """
    if len(arguments) != 2:
        print("usage: python -m agents.verify.gpaw.runner INPUT.json OUTPUT.json", file=sys.stderr)
        return 2
    source, target = (Path(argument).resolve() for argument in arguments)
    try:
        result = calculate(TaskInput.read(json.loads(source.read_text())))
    except (RuntimeError, ValueError, ArithmeticError, MemoryError) as error:
        kind = "scf" if isinstance(error, NotConverged) else type(error).__name__
        failure = {"kind": kind, "message": str(error), "log_tail": _log_tail()}
        write_atomically(target, {"error": failure})
        return 0
    write_atomically(target, {"result": result})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
