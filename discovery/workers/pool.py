"""The pool of a worker, which survives the death of any of its processes.

With a broker that has no event loop (the embedded file transport), Celery's pool processes read
their tasks from one pipe under one lock, and an idle process waits for the next task *with the lock
in its hand*. When the kernel kills that process (SIGKILL, for want of memory), a semaphore stays
locked for ever: the worker goes on, receives messages, and nobody works any more. The locks here
are the kernel's own, on a file, which it gives back when their holder dies.
"""

from __future__ import annotations

import fcntl
import tempfile
from typing import Any

from billiard.pool import Pool
from celery.concurrency import prefork


class SurvivingLock:
    """A lock among a process and its forks that the death of its holder opens.

    It is a POSIX lock on a file without a name: every fork inherits the file, and the lock belongs
    to one process, not to its threads.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the pool

    def acquire(self) -> bool:
        """Wait for the lock."""
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        """Give it back."""
        fcntl.lockf(self._file, fcntl.LOCK_UN)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class SurvivingPool(Pool):
    """billiard's pool; what its processes share is locked by `SurvivingLock`."""

    def _setup_queues(self) -> None:
        super()._setup_queues()
        self._inqueue._rlock = SurvivingLock()  # held by the process that waits for a task
        self._outqueue._wlock = SurvivingLock()  # held by the one that tells its result


class TaskPool(prefork.TaskPool):
    """Celery's prefork pool for brokers of both kinds; those with an event loop share no pipe."""

    BlockingPool: Any = SurvivingPool
