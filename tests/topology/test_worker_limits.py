"""A pool process that leaks or hangs is replaced by Celery, with the limits the product sets."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from celery import Celery
from cluster import alive, children, until
from servers import RedisServer

from discovery.workers.processes import worker_command

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(900)]

LIMIT_GB = 0.8
LEAK_MB = 150


@pytest.fixture
def worker(redis: RedisServer, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker as `discovery worker` starts it, which knows the tasks of `leaking`, too."""
    command = worker_command(["evaluate"], 1, "leaking", memory_gb=LIMIT_GB, task_seconds=5)
    outside = {"DISCOVERY_BROKER": redis.url, "DISCOVERY_HOME": str(tmp_path)}
    environment = {**os.environ, **outside, "PYTHONPATH": str(Path(__file__).parent)}
    with (tmp_path / "worker.log").open("wb") as log:
        started = subprocess.Popen(
            [*command, "--include=leaking"], env=environment, stdout=log, stderr=log
        )
    yield started
    started.kill()
    started.wait()


@pytest.fixture
def send(redis: RedisServer) -> Callable[..., None]:
    """Send a task to the worker."""
    with redis.client() as client:
        client.flushall()
    app = Celery(broker=redis.url)

    def send(name: str, *arguments: object) -> None:
        app.send_task(f"topology.{name}", arguments, queue="evaluate")

    return send


def test_a_process_that_leaks_or_hangs_is_replaced(
    worker: subprocess.Popen[bytes], send: Callable[..., None], tmp_path: Path
) -> None:
    notes = tmp_path / "notes.txt"
    notes.touch()
    for _ in range(7):
        send("leak", str(notes), LEAK_MB)
    until(lambda: len(notes.read_text().splitlines()) == 7, 240)
    told = [tuple(map(int, line.split())) for line in notes.read_text().splitlines()]
    assert len({pid for pid, _ in told}) >= 3
    assert max(megabytes for _, megabytes in told) < 1000 * LIMIT_GB + LEAK_MB
    for (before, held), (after, _) in pairwise(told):
        assert (before != after) == (held > 1024 * LIMIT_GB * 1e6 / 1024**2)
    notes.write_text("")
    send("hang", str(notes))
    until(lambda: len(notes.read_text().splitlines()) == 2, 60)
    (first, second) = notes.read_text().splitlines()
    hanging = int(first.split()[0])
    assert (first, second) == (f"{hanging} hangs", f"{hanging} asked")
    until(lambda: not alive(hanging), 30)
    send("leak", str(notes), 1)
    until(lambda: len(notes.read_text().splitlines()) == 3, 60)  # its successor works
    assert children(worker.pid) != [hanging]
