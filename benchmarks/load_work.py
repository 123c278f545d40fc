"""Many workers that do work which costs nothing: what is left is the database's part."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from load_records import CAMPAIGN

from agents.stage import Outcome, Stage, work
from db.connection import Session, connect_worker
from db.documents import Candidate
from db.owners import owner_name
from db.states import State


class Nothing(Stage):
    """A stage that costs nothing."""

    name = "nothing"
    agent = "nothing"
    takes = State.PROPOSED
    batch = 32
    lease_seconds = 300

    def process(self, candidates: Sequence[Candidate]) -> Iterator[Outcome]:
        """Move each candidate on."""
        for one in candidates:
            yield Outcome(one.id, State.EVALUATED, updates={"evaluation": {"energy": -1.0}})


class Clock:
    """Processor and wall time of this process and of the server since it was made."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._start = self._now()

    def _now(self) -> tuple[float, float, float]:
        info = self._session.database.client.admin.command("serverStatus")["extra_info"]
        server = (info["user_time_us"] + info["system_time_us"]) / 1e6
        return time.perf_counter(), time.process_time(), server

    def read(self) -> dict[str, float]:
        """Return ``wall``, ``own`` and ``server`` seconds."""
        spent = np.subtract(self._now(), self._start)
        return dict(zip(("wall", "own", "server"), map(float, spent), strict=True))


def transitions(session: Session, workers: int, limit: int) -> dict[str, float]:
    """Let processes work through candidates that wait.

    Args:
        session: The database connection.
        workers: Number of processes.
        limit: Candidates of all together, so many at least.

    Returns:
        ``done``, ``per_second``, and processor time for each transition (ms).
    """
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(workers + 1), context.SimpleQueue()
    each = -(-limit // workers)
    processes = [
        context.Process(
            target=_work, args=(session.uri, session.database_name, start, results, each)
        )
        for _ in range(workers)
    ]
    for process in processes:
        process.start()
    start.wait()
    clock = Clock(session)
    ended = [results.get() for _ in processes]
    spent = clock.read()
    for process in processes:
        process.join()
    done = sum(count for count, _ in ended)
    return {
        "done": done,
        "per_second": done / spent["wall"],
        "worker_ms": 1e3 * sum(seconds for _, seconds in ended) / max(done, 1),
        "server_ms": 1e3 * spent["server"] / max(done, 1),
    }


def _work(uri: str, database: str, start: Any, results: Any, limit: int) -> None:
    with connect_worker(uri, database):
        stage, owner, done = Nothing(), owner_name(), 0
        stage.batch = min(Nothing.batch, limit)
        start.wait()
        used = time.process_time()
        while done < limit:
            # A deadline that is over after one batch: another worker may be waiting.
            more = work(stage, CAMPAIGN, owner, deadline=time.monotonic() + 1e-3)
            done += more
            if not more:
                break
        results.put((done, time.process_time() - used))
