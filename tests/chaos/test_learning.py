"""SIGKILL between the training of a model and its promotion, in a process of its own.

Training is replaced, because what a toy potential teaches is no progress: what is killed is all
that follows it, which is the product's.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, until
from history import read, report, violations
from outcome import Row

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
LEARNER = """
import sys, time
from pathlib import Path
from agents.learn import event
from agents.learn.challenge import Challenge
from agents.learn.settings import LearnSettings
from db.connection import connect_worker
from model.generator import Generator

def trained(generator, live, **_):
    Path(sys.argv[3]).touch()
    while not Path(sys.argv[4]).exists():
        time.sleep(0.01)
    return Challenge(live, None, [], [], {"prequential": {}, "held_out": {}})

with connect_worker(sys.argv[1], sys.argv[2]):
    event.challenge = trained
    event.improvement = lambda *_: "it is better"
    event.due = lambda *_, **__: sys.argv[5] == "due"
    event.learn("chaos", Generator.load("perov5"), LearnSettings(), 7)
"""


@pytest.fixture
def finished(calm: Callable[[], Cluster]) -> Cluster:
    """A cluster whose campaign is complete."""
    return calm()


@pytest.fixture
def learner(finished: Cluster, tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Start a learning event; it has a model when ``trained`` is there, and stores it at ``go``."""

    def start(due: bool) -> subprocess.Popen[bytes]:
        files = [str(tmp_path / name) for name in ("trained", "go")]
        arguments = [finished.uri, finished.database.name, *files, "due" if due else "not due"]
        return subprocess.Popen(
            [sys.executable, "-c", LEARNER, *arguments],
            cwd=ROOT,
            env={**finished.zygote.environment, **finished.environment},
        )

    return start


def versions(finished: Cluster) -> list[dict[str, Any]]:
    return list(finished.database["model_versions"].find({"decision": "promoted"}))


def test_a_model_stored_by_a_dead_worker_is_promoted_once(
    finished: Cluster,
    learner: Callable[..., subprocess.Popen[bytes]],
    tmp_path: Path,
    row: Callable[[str], Row],
) -> None:
    told = row("worker killed between training and promotion")
    killed = learner(due=True)
    until((tmp_path / "trained").exists, 120)
    with finished.held("campaigns", finished.campaign):
        (tmp_path / "go").touch()
        (version,) = until(lambda: versions(finished), 60)
        time.sleep(0.5)  # by now it waits to make the version live
        killed.kill()
        killed.wait()
    assert finished.record()["live_model"] is None
    found = [one.rule for one in violations(read(finished.database, finished.campaign))]
    assert found == ["ended", "ended"]  # its claim, and a version that nobody concluded
    started = time.monotonic()
    assert learner(due=False).wait(timeout=120) == 0
    told.injected(time.monotonic() - started)
    assert finished.record()["live_model"] == version["_id"]
    promotions = [e["data"]["decision"] for e in finished.events("learning")].count("promoted")
    assert promotions == len(versions(finished)) == 1
    broken = violations(read(finished.database, finished.campaign))
    told.count(broken, finished.paid_times())
    assert not broken, report(broken)
