"""No query of the loop's ticks or of the workers reads more than it needs: MongoDB's profiler says.

The benchmark's own code with two thousand candidates; `benchmarks/load.py` does it with a million.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from db.connection import Session

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SIZE = 2000
OPEN = 300


@pytest.fixture
def load(
    database: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModuleType]:
    """The benchmark, its indexes as they were afterwards."""
    monkeypatch.setenv("DISCOVERY_HOME", str(tmp_path))
    monkeypatch.delenv("DISCOVERY_BROKER", raising=False)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import load

    yield load
    for name in ("load", "load_records", "load_profile", "load_ticks", "load_work", "query"):
        sys.modules.pop(name, None)


def test_no_query_of_ticks_and_workers_reads_a_collection_or_more_than_it_gives(
    database: Session, load: ModuleType
) -> None:
    load.load_records.fill(0, SIZE, OPEN)
    found = load.ticks(database, 2)
    with load.profiled(database.database) as queries:
        done = load.transitions(database, 6, 120)
    assert done["done"] >= 100
    watched = [*found["every"]["queries"], *(query.record() for query in queries)]
    assert {"candidates", "generations", "calculations", "fireworks"} <= {
        query["collection"] for query in watched
    }
    assert sum(query["count"] for query in watched) > 200
    assert load.faults(watched) == []
    assert found["rationed"]["keys"] > found["every"]["keys"]
    assert not any(load.SCAN in one["faults"] for one in found["rationed"]["queries"])


def test_a_query_without_an_index_is_found(database: Session, load: ModuleType) -> None:
    load.load_records.fill(0, SIZE, OPEN)
    collection = database.database["candidates"]
    with load.profiled(database.database) as queries:
        collection.count_documents({"base_id": "mp-1"})
        list(collection.find({"campaign": "load", "base_id": "mp-1"}))
    said = load.faults(queries)
    assert any("reads the whole collection" in one for one in said)
    assert any("documents too many" in one for one in said)


def test_memory_does_not_grow_while_the_loop_ticks(database: Session, load: ModuleType) -> None:
    load.load_records.fill(0, 500, 50)
    found = load.growth(load.make_loop(database), 60, 5)
    assert found["traced_kb"] < 200, found  # of six ticks
