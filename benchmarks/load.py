"""How the database and the loop bear 10 thousand, 100 thousand and a million candidates.

    python benchmarks/load.py measure --home /tmp/load --sizes 10000,100000,1000000 --out load.json
    python benchmarks/load.py memory --home /tmp/load-small --ticks 7200

`measure` fills an embedded database of its own (1 GB of cache, as every embedded one) and at each
size lets fifty worker processes do work that costs nothing (lease, transition), lets the campaign's
loop tick, and asks for the campaign's status. All operations of the ticks and of the workers are
recorded by MongoDB's profiler: one that reads a whole collection, or at every tick more documents
than it gives reason for, is listed as a fault, and the command then ends with exit code 1. Beside
the time on the wall stands processor time, the server's and our own, which says the same on a busy
machine.

`memory` ticks as often as an hour does and says how the memory of the loop grew.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import load_records
import pymongo
import typer
from load_profile import SCAN, Query, profiled
from load_records import CAMPAIGN
from load_ticks import growth, make_loop, ticks
from load_work import transitions

from db.connection import Session, connect

DATABASE = "load"
WORKERS = 50
OPEN = 5000
"""Candidates that wait for the workers at each size."""
PROFILED = 500
"""So many of them are worked through under the profiler, which slows everything down."""
LONG_SECONDS = 7200.0
"""For what may take longer than an operation of a campaign: all indexes anew, the status."""

app = typer.Typer(help=__doc__)
Home = Annotated[Path, typer.Option(help="Folder of the embedded database; it is emptied.")]


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
    with pymongo.timeout(LONG_SECONDS):
        load_records.with_indexes()
    found: dict[str, Any] = {"fill_s": filled, "index_s": time.perf_counter() - started - filled}
    found |= sizes(session)
    found["tick"] = ticks(session, number)
    with profiled(session.database) as queries:
        transitions(session, workers, min(PROFILED, open_candidates // 2))
    found["worker_queries"] = [query.record() for query in queries]
    found["work"] = transitions(session, workers, open_candidates)
    with pymongo.timeout(LONG_SECONDS):
        found |= measure_status()
    found["faults"] = faults([*found["tick"]["every"]["queries"], *found["worker_queries"]])
    rationed = [one for one in found["tick"]["rationed"]["queries"] if SCAN in one["faults"]]
    found["faults"] += faults(rationed)
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


def show(row: dict[str, Any]) -> None:
    """Print one size."""
    tick, done = row["tick"], row["work"]
    print(
        f"{row['candidates']} candidates of {row['average_kb']:.1f} kB: {row['data_mb']:.0f} MB, "
        f"{row['disk_mb']:.0f} MB on disk, indexes {row['index_mb']:.0f} MB "
        f"(filled in {row['fill_s']:.0f} s, indexes made in {row['index_s']:.0f} s)\n"
        f"  tick {tick['median_ms']:.0f} ms, processor {tick['cpu_ms']:.0f} ms, with a choice "
        f"{tick['first_ms']:.0f} ms\n"
        f"    {tick['every']['keys']} keys, {tick['every']['documents']} documents; with what is "
        f"rationed {tick['rationed']['keys']} and {tick['rationed']['documents']}\n"
        f"    {', '.join(f'{name} {ms:.1f}' for name, ms in tick['steps_ms'].items())}\n"
        f"  status {row['status_ms']:.0f} ms\n"
        f"  {done['per_second']:.0f} transitions/s by {WORKERS} workers, processor "
        f"{done['worker_ms']:.2f} + {done['server_ms']:.2f} ms each"
    )
    for fault in row["faults"]:
        print(f"  FAULT {fault}", file=sys.stderr)


if __name__ == "__main__":
    app()
