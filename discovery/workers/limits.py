"""Limits of the workers, and how they fit together.

A task lasts a turn (`discovery.workers.tasks.TURN_SECONDS`) and the batch that it began. One that
lasts an hour hangs: it is first asked to end, so that its leases are given up, and then killed. A
message that was not acknowledged within the visibility timeout is delivered again by Redis; that is
later than any task can last, and leases must be shorter, so that whoever holds one has long lost
it.
"""

from __future__ import annotations

import os

SOFT_SECONDS = 3300
"""A task is asked to end: it raises, and its leases are given up."""
HARD_SECONDS = 3600
"""Its process is killed and replaced; the leases expire."""
VISIBILITY_SECONDS = 7200
"""A message that nobody acknowledged is delivered again (Redis)."""
LONGEST_LEASE_SECONDS = HARD_SECONDS
"""A campaign that asks for longer leases is refused."""

START_SECONDS = 300
"""A pool process that takes longer to start is killed and replaced."""
MOST_TASKS = 500
"""A pool process is replaced after so many tasks, some hours of work, whatever it has leaked."""
LEAST_MEMORY_GB = 4.0
"""Below it, models would be loaded anew after every task; the largest we ship takes 2 GB."""


def memory_per_process(processes: int) -> float:
    """Say how much memory a pool process may have held before it is replaced, GB.

    Args:
        processes: Pool processes that share this machine.

    Returns:
        Half of an equal share of the machine's memory, and never less than the models need.
    """
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return max(LEAST_MEMORY_GB, 0.5 * total / processes)
