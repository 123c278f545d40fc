"""The processes of a campaign by their part: one loop, one worker with its pool, one launcher."""

from __future__ import annotations

import os
import signal
import time

from cluster import Cluster, children

ARGUMENTS = ("--json",)


class Crew:
    """Starts the processes of a campaign, and replaces those that were killed.

    Attributes:
        cluster: Where they run.
        loop: Process id of the loop.
        worker: Process id of the Celery worker; its pool is below it.
        launcher: Process id of the FireWorks launcher.
    """

    def __init__(self, cluster: Cluster, concurrency: int = 2, *arguments: str) -> None:
        self.cluster = cluster
        self.concurrency = concurrency
        self.arguments = (*ARGUMENTS, *arguments)
        self.worker = cluster.worker(concurrency=concurrency)
        self.launcher = cluster.launcher()
        self.loop = cluster.loop(*self.arguments)

    @property
    def pool(self) -> list[int]:
        """Process ids of the worker's pool."""
        return children(self.worker)

    def replace_loop(self) -> float:
        """Kill the loop, start another, and return the time of the death."""
        self.cluster.kill(self.loop)
        died = time.monotonic()
        self.loop = self.cluster.loop(*self.arguments)
        return died

    def replace_worker(self) -> float:
        """Kill the worker, with which its pool dies, and start another."""
        self.cluster.kill(self.worker)
        died = time.monotonic()
        self.worker = self.cluster.worker(concurrency=self.concurrency)
        return died

    def replace_launcher(self) -> float:
        """Kill the launcher, with which its calculation dies, and start another."""
        self.cluster.kill(self.launcher)
        died = time.monotonic()
        self.launcher = self.cluster.launcher()
        return died

    def kill_pool_process(self, pid: int) -> float:
        """Kill one process of the pool; the worker replaces it itself."""
        self.cluster.kill(pid)
        return time.monotonic()

    def retire(self) -> None:
        """End worker and launcher by SIGTERM, and find nothing left of the whole cluster.

        Raises:
            AssertionError: One did not end well, or a process is left.
        """
        for pid in (self.worker, self.launcher):
            os.kill(pid, signal.SIGTERM)
            assert self.cluster.wait(pid, 30) == 0
        assert self.cluster.left_over() == {}
