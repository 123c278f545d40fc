"""Child processes of a campaign: they die with their parent, are watched, and are replaced."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType

from discovery.workers.limits import HARD_SECONDS, MOST_TASKS, SOFT_SECONDS, memory_per_process

log = logging.getLogger(__name__)

QUEUES = ("evaluate", "relax", "screen", "learn")
"""Queues of the Celery workers; DFT has launchers of its own."""

PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent(sent: int = signal.SIGKILL) -> None:
    """Ask the kernel to signal this process when its parent dies (Linux).

    Args:
        sent: The signal.

    Raises:
        OSError: The kernel refused.
    """
    if _LIBC.prctl(PR_SET_PDEATHSIG, sent, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _terminate_with_parent(parent: int) -> None:
    die_with_parent(signal.SIGTERM)
    if os.getppid() != parent:  # it died before the request
        os._exit(1)


@dataclass
class Child:
    """One child and how to start it again."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    starts: list[float] = field(default_factory=list)


class ChildrenFailed(RuntimeError):
    """A child dies again and again; the text names its log."""


class Children:
    """Starts child processes, replaces those that die, and stops them all at the end.

    Args:
        environment: Variables added to this process's own.
        logs: Folder of their output, one file each.
        restarts: Most starts of one child within five minutes.
    """

    def __init__(self, environment: Mapping[str, str], logs: Path, restarts: int = 5) -> None:
        self._environment = {**os.environ, **environment}
        self._logs = logs
        self._restarts = restarts
        self._children: list[Child] = []

    def __enter__(self) -> Children:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start one more child; must be called from the main thread, which it then dies with."""
        child = Child(name, command)
        self._children.append(child)
        self._spawn(child)

    def pids(self) -> dict[str, int]:
        """Return the process id of every living child by name."""
        return {
            child.name: child.process.pid
            for child in self._children
            if child.process is not None and child.process.poll() is None
        }

    def watch(self) -> list[str]:
        """Replace the children that died.

        Returns:
            Names of those replaced.

        Raises:
            ChildrenFailed: One died too often.
        """
        replaced = []
        for child in self._children:
            if child.process is None or child.process.poll() is None:
                continue
            log.warning("%s ended with exit code %s", child.name, child.process.returncode)
            recent = [start for start in child.starts if start > time.monotonic() - 300]
            if len(recent) >= self._restarts:
                raise ChildrenFailed(
                    f"{child.name} died {len(recent)} times in five minutes: see {self._log(child)}"
                )
            self._spawn(child)
            replaced.append(child.name)
        return replaced

    def stop(self, patience: float = 10.0) -> None:
        """End every child: SIGTERM, and SIGKILL for those still there after some seconds."""
        living = [child.process for child in self._children if child.process is not None]
        for process in living:
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + patience
        for process in living:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._children.clear()

    def _log(self, child: Child) -> Path:
        return self._logs / f"{child.name}.log"

    def _spawn(self, child: Child) -> None:
        self._logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._log(child).open("ab") as output:
            child.process = subprocess.Popen(
                child.command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=partial(_terminate_with_parent, os.getpid()),
            )
        child.starts.append(time.monotonic())


def worker_command(
    queues: Sequence[str],
    concurrency: int,
    name: str,
    *,
    memory_gb: float | None = None,
    most_tasks: int = MOST_TASKS,
    task_seconds: float = HARD_SECONDS,
) -> list[str]:
    """Return the command of one Celery worker.

    Args:
        queues: Names of the queues it listens to.
        concurrency: Number of pool processes.
        name: Node name, unique on this machine.
        memory_gb: A pool process that has held more memory is replaced after its task; None: as
            `discovery.workers.limits.memory_per_process` says.
        most_tasks: A pool process is replaced after so many tasks.
        task_seconds: A task that lasts so long is killed; a little earlier it is asked to end.
    """
    memory = memory_per_process(concurrency) if memory_gb is None else memory_gb
    soft = task_seconds - min(HARD_SECONDS - SOFT_SECONDS, task_seconds / 2)
    return [
        sys.executable,
        "-m",
        "celery",
        "--app=discovery.workers.celery_app",
        "worker",
        f"--queues={','.join(queues)}",
        f"--concurrency={concurrency}",
        f"--hostname={name}@%h",
        f"--max-memory-per-child={round(memory * 1e6)}",  # kB
        f"--max-tasks-per-child={most_tasks}",
        f"--soft-time-limit={soft:g}",
        f"--time-limit={task_seconds:g}",
        "--pool=prefork",
        "--loglevel=INFO",
        "--without-gossip",
        "--without-mingle",
        "--without-heartbeat",
    ]


def launcher_command() -> list[str]:
    """Return the command of one FireWorks launcher."""
    return [sys.executable, "-m", "discovery", "worker", "--queue", "dft"]
