"""Workers whose clocks are days off, and jump: times in the records are the server's alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cluster import QUEUES, Cluster, until
from history import read, report
from outcome import Outcome, Row, difference, judged, outcome

pytestmark = [pytest.mark.chaos, pytest.mark.long, pytest.mark.timeout(900)]

CLOCK = Path(__file__).with_name("clock")
"""Python begins here with `sitecustomize`, which sets its time of day."""
DAY = 86400


def before_dft(found: Outcome) -> Outcome:
    """Leave out what follows from the choice for DFT, which is made among all rounds."""
    passed = ("screened", "verified")
    return {
        codes: ("passed" if fate[0] in passed else fate[0], *fate[1:10])
        for codes, fate in found.items()
    }


def test_clocks_that_are_off_and_jump_change_nothing(
    found: Callable[..., Cluster],
    undisturbed: Callable[[], Outcome],
    row: Callable[[str], Row],
    tmp_path: Path,
) -> None:
    told = row("worker's clock two days ahead, then one behind")
    cluster = found()
    clock = tmp_path / "clock"
    clock.write_text(str(2 * DAY))
    path = f"{CLOCK}{os.pathsep}{cluster.zygote.environment['PYTHONPATH']}"
    off = {"CHAOS_CLOCK": str(clock), "PYTHONPATH": path}
    place = ("--db", cluster.uri)
    worker = cluster.execute("worker", "--queue", QUEUES, "--concurrency", "1", *place, **off)
    launcher = cluster.execute("worker", "--queue", "dft", *place, **off)
    loop = cluster.loop("--json", "--set", "budget.rounds=1")
    until(lambda: cluster.candidates(state="relaxed") or cluster.candidates(state="screened"), 240)
    clock.write_text(str(-DAY))
    told.times += 2
    assert cluster.wait(loop, 400) == 0, cluster.log("run")
    cluster.at_rest()
    for process in (worker, launcher):
        process.terminate()
        assert process.wait(timeout=60) == 0
    log = (cluster.folder / "executed.log").read_text()
    days = {f"{datetime.now(UTC) + timedelta(days=n):%Y-%m-%d}" for n in (2, -1)}
    assert all(f"{day} " in log for day in days)  # the clocks really were off
    records = read(cluster.database, cluster.campaign)
    broken = judged(cluster, records, cluster.status())
    told.count(broken, cluster.paid_times())
    assert not broken, report(broken)
    now = datetime.now(UTC)
    times = [entry["at"] for one in records.candidates for entry in one["history"]]
    times += [entry["at"] for one in records.calculations for entry in one["history"]]
    assert now - timedelta(minutes=30) < min(times) <= max(times) < now + timedelta(minutes=1)
    assert cluster.left_over() == {}
    proposed = {one["codes_hash"] for one in records.candidates}
    expected = {codes: fate for codes, fate in undisturbed().items() if codes in proposed}
    assert not difference(before_dft(outcome(records)), before_dft(expected))
