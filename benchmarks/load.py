"""How the database and the loop bear 10 thousand, 100 thousand and a million candidates.

    python benchmarks/load.py measure --home /tmp/load --sizes 10000,100000,1000000 --out load.json
    python benchmarks/load.py memory --home /tmp/load-small --ticks 7200

`measure` fills an embedded database of its own (1 GB of cache, as every embedded one) and at each
size lets fifty worker processes do work that costs nothing (lease, transition), lets the campaign's
loop tick, and asks for the campaign's status. All operations of the ticks and of the workers are
recorded by MongoDB's profiler: one that reads a whole collection, or more documents than it gives
reason for, is listed as a fault, and the command then ends with exit code 1. Beside the time on the
wall stands processor time, the server's and our own, which says the same on a busy machine.

`memory` ticks as often as an hour does and says how the memory of the loop grew.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import resource
import shutil
import statistics
import sys
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import load_records
import numpy as np
import typer
from load_profile import Query, profiled
from load_records import CAMPAIGN

from agents.stage import Outcome, Stage, work
from db import campaigns
from db.connection import Session, connect, connect_worker
from db.documents import Candidate
from db.owners import owner_name
from db.states import State

DATABASE = "load"
WORKERS = 50
OPEN = 5000
"""Candidates that wait for the workers at each size."""
PROFILED = 500
"""So many of them are worked through under the profiler, which slows everything down."""

app = typer.Typer(help=__doc__)
Home = Annotated[Path, typer.Option(help="Folder of the embedded database; it is emptied.")]


class Nothing(Stage):
    """A stage that costs nothing: what is left is the database's part."""

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


@contextmanager
def timed_steps(loop: Any, spent: dict[str, list[float]]) -> Iterator[None]:
    """Note how long the steps of a tick take, s."""
    import discovery.campaign.loop as module

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                spent[name].append(time.perf_counter() - started)

        return call

    steps = {
        "reap": (module.candidates, "reap"),
        "propose": (loop, "_propose"),
        "dispatch": (module, "dispatch_relaxations"),
        "counts": (loop._tally, "counts"),
        "unplaced": (loop, "_unplaced"),
        "first open": (module, "first_open"),
        "verify": (loop.verification, "step"),
        "follow up": (loop, "_follow_up"),
        "learn": (loop, "_learn"),
        "enough hits": (loop, "_enough_hits"),
    }
    with ExitStack() as stack:
        for name, (owner, attribute) in steps.items():
            function = timed(name, getattr(owner, attribute))
            stack.enter_context(mock.patch.object(owner, attribute, function))
        yield


def make_loop(session: Session) -> Any:
    """Return the loop of the campaign, without workers; it has the lead."""
    from agents.verify.backend import resolve_backend
    from discovery.campaign.loop import LEADER_SECONDS, CampaignLoop
    from discovery.workers.runtime import Runtime

    config = load_records.config()
    resolved = {
        "dft": resolve_backend(config.verify),
        "potential": {"name": "chgnet", "device": "cpu"},
        "generator": {"name": "perov5", "version": "", "head": ""},
        "screens": [],
        "hull": {"used": True, "name": "none", "checksum": ""},
    }
    campaigns.create(CAMPAIGN, config=config.record(), resolved=resolved, seed=1)
    loop = CampaignLoop(Runtime(CAMPAIGN, config=config), session)
    loop._token = campaigns.lead(CAMPAIGN, loop.runtime.owner, 100 * LEADER_SECONDS)
    return loop


def ticks(session: Session, number: int) -> dict[str, Any]:
    """Let the loop tick.

    Returns:
        ``first_ms`` (candidates are chosen for DFT and their calculations queued), ``median_ms`` of
        the others with the processor time in it, median of each step, and the faults of the
        queries.
    """
    loop = make_loop(session)
    started = time.perf_counter()
    loop.tick()
    first = time.perf_counter() - started
    walls, processor, spent = [], [], defaultdict(list)
    with timed_steps(loop, spent):
        for _ in range(number):
            clock = Clock(session)
            loop.tick()
            reading = clock.read()
            walls.append(reading["wall"])
            processor.append(reading["own"] + reading["server"])
    with profiled(session.database) as queries:
        loop.tick()
    campaigns.resign(CAMPAIGN, loop.runtime.owner, loop._token)
    return {
        "first_ms": 1e3 * first,
        "median_ms": 1e3 * statistics.median(walls),
        "cpu_ms": 1e3 * statistics.median(processor),
        "steps_ms": {name: 1e3 * statistics.median(seconds) for name, seconds in spent.items()},
        "keys": sum(query.keys for query in queries),
        "documents": sum(query.documents for query in queries),
        "queries": [query.record() for query in queries],
    }


def sizes(session: Session) -> dict[str, Any]:
    """Return how large the candidates and their indexes are, MB."""
    stats = session.database.command("collStats", "candidates")
    largest = sorted(stats["indexSizes"].items(), key=lambda item: -item[1])
    return {
        "candidates": stats["count"],
        "average_kb": stats.get("avgObjSize", 0) / 1e3,
        "data_mb": stats["size"] / 1e6,
        "disk_mb": stats["storageSize"] / 1e6,
        "index_mb": stats["totalIndexSize"] / 1e6,
        "indexes_mb": {name: size / 1e6 for name, size in largest},
    }


def measure_status() -> dict[str, float]:
    """Time the campaign's summary and the histories' funnel."""
    from discovery.reports.status import status

    started, used = time.perf_counter(), time.process_time()
    status(CAMPAIGN)
    return {
        "status_ms": 1e3 * (time.perf_counter() - started),
        "status_own_cpu_ms": 1e3 * (time.process_time() - used),
    }


def faults(queries: Sequence[dict[str, Any] | Query]) -> list[str]:
    """Describe the queries that must not be."""
    records = [one if isinstance(one, dict) else one.record() for one in queries]
    return [
        f"{one['collection']}: {one['shape']} {one['plans']}: {', '.join(one['faults'])} "
        f"(keys {one['keys']}, documents {one['documents']}, given {one['given']})"
        for one in records
        if one["faults"]
    ]


def measure_size(
    session: Session, before: int, size: int, *, workers: int, open_candidates: int, number: int
) -> dict[str, Any]:
    """Fill the database up to a size and measure there.

    Args:
        session: The database connection.
        before: Candidates there are.
        size: Candidates there shall be.
        workers: Processes of the workers.
        open_candidates: Candidates that wait for them.
        number: Ticks.
    """
    started = time.perf_counter()
    load_records.settle()
    load_records.without_indexes()
    load_records.fill(before, size, open_candidates)
    filled = time.perf_counter() - started
    load_records.with_indexes()
    found: dict[str, Any] = {"fill_s": filled, "index_s": time.perf_counter() - started - filled}
    found |= sizes(session)
    found["tick"] = ticks(session, number)
    found |= measure_status()
    with profiled(session.database) as queries:
        transitions(session, workers, min(PROFILED, open_candidates // 2))
    found["worker_queries"] = [query.record() for query in queries]
    found["work"] = transitions(session, workers, open_candidates)
    found["faults"] = faults([*found["tick"]["queries"], *found["worker_queries"]])
    return found


@app.command()
def measure(
    home: Home,
    sizes: Annotated[str, typer.Option(help="Candidates, increasing.")] = "10000,100000",
    workers: int = WORKERS,
    open_candidates: int = OPEN,
    number: Annotated[int, typer.Option(help="Ticks at each size.")] = 20,
    out: Path | None = None,
) -> None:
    """Fill, work, tick; print a table."""
    shutil.rmtree(home, ignore_errors=True)
    os.environ["DISCOVERY_HOME"] = str(home)
    rows, before = [], 0
    with connect(home=home, database=DATABASE) as session:
        for size in map(int, sizes.split(",")):
            rows.append(
                measure_size(
                    session,
                    before,
                    size,
                    workers=workers,
                    open_candidates=open_candidates,
                    number=number,
                )
            )
            before = size
            show(rows[-1])
            if out is not None:
                out.write_text(json.dumps(rows, indent=2))
    if any(row["faults"] for row in rows):
        raise typer.Exit(1)


@app.command()
def memory(home: Home, candidates: int = 10_000, ticks: int = 7200, every: int = 200) -> None:
    """Tick as often as an hour does, without the pauses."""
    shutil.rmtree(home, ignore_errors=True)
    os.environ["DISCOVERY_HOME"] = str(home)
    with connect(home=home, database=DATABASE) as session:
        load_records.without_indexes()
        load_records.fill(0, candidates, 200)
        load_records.with_indexes()
        print(json.dumps(growth(make_loop(session), ticks, every)))


def growth(loop: Any, number: int, every: int) -> dict[str, Any]:
    """Tick so many times and read the memory now and then; the first tenth is for warming up.

    Returns:
        ``rss_mb`` at the begin and at the end, ``kb_per_1000_ticks`` (slope of a straight line),
        and what Python itself holds more at the end than in the middle (``traced_kb``).
    """
    loop.tick()
    readings, used = [], time.process_time()
    for done in range(number):
        loop.tick()
        if done % every == 0:
            gc.collect()
            readings.append((done, _rss_kb()))
        if done == number // 2:
            tracemalloc.start()
            middle = tracemalloc.get_traced_memory()[0]
        if done == number // 2 + number // 10:
            gc.collect()
            traced = tracemalloc.get_traced_memory()[0] - middle
            tracemalloc.stop()
    warm = [(at, kb) for at, kb in readings if at >= number // 10]
    slope = float(np.polyfit(*np.array(warm, dtype=float).T, 1)[0])
    return {
        "ticks": number,
        "rss_mb": [warm[0][1] / 1024, warm[-1][1] / 1024],
        "kb_per_1000_ticks": 1000 * slope,
        "traced_kb": traced / 1024,
        "cpu_s": time.process_time() - used,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _rss_kb() -> int:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def show(row: dict[str, Any]) -> None:
    """Print one size."""
    tick, done = row["tick"], row["work"]
    print(
        f"{row['candidates']} candidates of {row['average_kb']:.1f} kB: {row['data_mb']:.0f} MB, "
        f"{row['disk_mb']:.0f} MB on disk, indexes {row['index_mb']:.0f} MB "
        f"(filled in {row['fill_s']:.0f} s, indexes made in {row['index_s']:.0f} s)\n"
        f"  tick {tick['median_ms']:.0f} ms, processor {tick['cpu_ms']:.0f} ms, with a choice "
        f"{tick['first_ms']:.0f} ms; {tick['keys']} keys, {tick['documents']} documents\n"
        f"    {', '.join(f'{name} {ms:.1f}' for name, ms in tick['steps_ms'].items())}\n"
        f"  status {row['status_ms']:.0f} ms\n"
        f"  {done['per_second']:.0f} transitions/s by {WORKERS} workers, processor "
        f"{done['worker_ms']:.2f} + {done['server_ms']:.2f} ms each"
    )
    for fault in row["faults"]:
        print(f"  FAULT {fault}", file=sys.stderr)


if __name__ == "__main__":
    app()
