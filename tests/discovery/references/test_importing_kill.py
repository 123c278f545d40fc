"""Imports that are killed with SIGKILL, and the whole of the Materials Project."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents.screen.duplicates_fingerprint import VERSION, fingerprint, from_bytes
from agents.tables import parse_structure, read_rows
from db import reference_collections
from db.connection import Session, connect
from db.crystals import record_to_structure

PATIENCE_SECONDS = 240


def start(arguments: list[str], uri: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "discovery", "data", "import", *arguments, "--db", uri]
    return subprocess.Popen(
        [*command, "--json"],
        env={**os.environ, "DISCOVERY_DATA": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in found]


def is_gone(pid: int) -> bool:
    """Say whether a process has ended, even if nobody has asked how yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


def kill_after(
    rows: int, file: str, name: str, arguments: list[str], uri: str, folder: Path
) -> int:
    """Kill an import when it has read some rows; return how many it had stored as read."""

    def read() -> int:
        return int((reference_collections.progress(name, file) or {}).get("read", 0))

    process = start(arguments, uri, folder)
    wait_until(lambda: read() >= rows or process.poll() is not None)
    readers = children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: all(map(is_gone, readers)), 10)
    return read()


def resume(arguments: list[str], uri: str, folder: Path) -> dict[str, Any]:
    process = start(arguments, uri, folder)
    out, _ = process.communicate(timeout=PATIENCE_SECONDS * 4)
    assert process.returncode == 0
    report: dict[str, Any] = json.loads(out)
    return report


@pytest.mark.data
def test_a_killed_import_is_continued_and_stores_every_crystal_once(
    mongo_session: Session, database: Session, data_dir: Path
) -> None:
    file = "c2db_train.csv.gz"
    arguments = [str(data_dir / file), "--name", "mine"]
    before = kill_after(500, file, "mine", arguments, mongo_session.uri, data_dir)
    assert 500 <= before < 3533
    with pytest.raises(reference_collections.UnknownCollection, match="was not finished"):
        reference_collections.load("mine")
    report = resume(arguments, mongo_session.uri, data_dir)
    assert (report["n"], report["skipped"], report["read"]) == (3533, before, 3533 - before)
    stored = database.database["reference_structures"]
    ids = [row["material_id"] for row in read_rows(data_dir / file)]
    assert sorted(stored.distinct("reference_id")) == sorted(ids)
    assert stored.count_documents({"fingerprint_version": VERSION}) == 3533


@pytest.mark.long
@pytest.mark.data
@pytest.mark.timeout(3600)
def test_the_materials_project_takes_15_minutes_at_most(tmp_path: Path, data_dir: Path) -> None:
    """Of two cores; killed in the middle, resumed, whole, and every hundredth crystal compared."""
    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    file = "mp_ref2025_le20.csv.gz"
    with connect(home=tmp_path / "home") as session:
        before = kill_after(20_000, file, "mp", ["mp"], session.uri, data_dir)
        report = resume(["mp"], session.uri, data_dir)
        assert report["skipped"] == before >= 20_000
        assert (report["n"], report["n_bad"]) == (154_925, 0)
        stored = session.database["reference_structures"]
        assert len(stored.distinct("reference_id")) == 154_925
        assert stored.count_documents({"fingerprint_version": VERSION}) == 154_925
        for table in (file, "mp_ref2025_gt20.csv.gz"):
            for number, row in enumerate(read_rows(data_dir / table)):
                if number % 100:
                    continue
                found = stored.find_one({"_id": f"mp:{row['material_id']}"})
                assert found is not None
                structure = parse_structure(row["structure"])
                assert record_to_structure(found["structure"]) == structure
                expected = pytest.approx(fingerprint(structure), rel=1e-5)
                assert from_bytes(found["fingerprint"]) == expected
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
    # Two cores for 15 minutes; wall-clock time depends on who else is on the machine.
    assert processor < 2 * 15 * 60
