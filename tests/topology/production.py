"""A campaign's processes as in production: their addresses come from the environment."""

from __future__ import annotations

from dataclasses import dataclass

from cluster import Cluster


@dataclass
class Site(Cluster):
    """A cluster whose processes learn the addresses, with their secrets, from the environment."""

    def loop(self, *arguments: str, **environment: str) -> int:
        """Start a loop that starts no workers itself."""
        campaign = ("--campaign", str(self.file), "--workers", "0", "--json")
        return self.command("run", *campaign, *arguments, **environment)

    def worker(self, queues: str = "", concurrency: int = 1, **environment: str) -> int:
        """Start a Celery worker with its pool."""
        chosen = queues or "evaluate,relax,screen,learn"
        number = ("--concurrency", str(concurrency))
        return self.command("worker", "--queue", chosen, *number, **environment)

    def launcher(self, **environment: str) -> int:
        """Start a FireWorks launcher."""
        return self.command("worker", "--queue", "dft", **environment)
