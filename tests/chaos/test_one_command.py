"""``discovery run`` as on a laptop: it starts its workers itself, and they die with it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from cluster import Cluster, alive, children, until
from crew import Crew
from history import read, report, violations
from outcome import Row

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


def test_killing_the_one_command_leaves_no_process_and_loses_nothing(
    found: Callable[..., Cluster], row: Callable[[str], Row]
) -> None:
    told = row("`discovery run` killed with all that it started")
    cluster = found(CHAOS_EVALUATION_SECONDS="0.02")
    campaign = ("run", "--campaign", str(cluster.file), "--db", cluster.uri)
    run = cluster.execute(*campaign, "--workers", "1", "--json")
    until(lambda: cluster.candidates(state="relaxing", lease={"$ne": None}), 240)
    below = children(run.pid)
    assert len(below) >= 2  # a worker and a launcher
    run.kill()
    run.wait()
    # The worker gives back what it holds; a process that just ends has lost its marker already.
    until(lambda: not cluster.left_over() and not any(alive(pid) for pid in below), 30)
    died, before = time.monotonic(), cluster.progress()
    Crew(cluster)
    until(lambda: cluster.progress() > before, 120)
    told.injected(time.monotonic() - died)
    broken = violations(read(cluster.database, cluster.campaign), finished=False)
    told.count(broken, cluster.paid_times())
    assert not broken, report(broken)
    cluster.kill_everything()  # that it goes on to the end is shown by the other tests
