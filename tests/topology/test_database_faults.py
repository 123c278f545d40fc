"""The database dies, refuses, or cannot be reached: nothing acknowledged is lost, all go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cluster import until
from history import read, report, violations
from production import Site
from proxy import Proxy
from servers import Mongo

pytestmark = [pytest.mark.campaign, pytest.mark.chaos, pytest.mark.timeout(900)]


@contextmanager
def writing(site: Site, target: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Let a process write candidates and note what was acknowledged."""
    target.touch()
    program = Path(__file__).with_name("acknowledged.py")
    environment = {**os.environ, "MONGODB_URI": site.uri, "PYTHONPATH": str(Path.cwd())}
    started = subprocess.Popen([sys.executable, program, target], env=environment)
    yield started
    started.kill()
    started.wait()


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines()


def ends_clean(site: Site, loop: int, seconds: float = 500) -> None:
    """Wait for the campaign's end, and judge its history."""
    assert site.wait(loop, seconds) == 0, site.log("run")
    assert site.record()["state"] == "complete"
    found = violations(read(site.database, site.campaign))
    # Who claims the learning and then may not write cannot release it; the claim ends by itself.
    found = [one for one in found if not one.text.startswith("learner is still")]
    assert not found, report(found)
    assert len(site.paid()) == len(set(site.paid())) > 0


def kill_the_server(site: Site, mongo: Mongo, acknowledged: Path) -> None:
    """What was acknowledged is there afterwards, and everybody reconnects by himself."""
    with writing(site, acknowledged) as writer:
        for kill in range(4):
            before = len(lines(acknowledged))
            until(lambda before=before: len(lines(acknowledged)) > before + 20, 60)
            mongo.kill()
            time.sleep(0.5 + kill / 2)
            mongo.start()
        before = len(lines(acknowledged))
        until(lambda: len(lines(acknowledged)) > before + 20, 60)
        assert writer.poll() is None  # it reconnected by itself, four times
    found = {
        f"{one['_id']} {one['evaluation']['energy']}"
        for one in site.database["candidates"].find({"campaign": "writer"})
        if one.get("evaluation")
    }
    assert len(lines(acknowledged)) > 100
    assert set(lines(acknowledged)) <= found


def cut_the_network(site: Site, proxy: Proxy, loop: int) -> None:
    """Connections are reset, or nothing arrives any more: waited for."""
    for cut in (proxy.reset, proxy.drop, proxy.reset):
        passed = proxy.passed
        until(lambda passed=passed: proxy.passed > passed + 200_000, 120)
        cut()
        time.sleep(3)
        assert site.ended(loop) is None
        proxy.mend()


def forbid_writing(site: Site, mongo: Mongo, loop: int) -> None:
    """The loop ends with a sentence, and the next one goes on."""
    name = site.database.name
    mongo.grant(name, "read", name)
    assert site.wait(loop, 60) == 1
    assert "the database does not let this user write" in site.log("run")
    assert "Traceback" not in site.log("run")
    mongo.grant(name, "readWrite", name)


def test_one_campaign_lives_through_every_fault_of_its_database(
    remote: Site, mongo: Mongo, proxy: Proxy, tmp_path: Path
) -> None:
    remote.worker(concurrency=2, CHAOS_EVALUATION_SECONDS="0.02")
    remote.launcher()
    loop = remote.loop()
    until(lambda: any(one["state"] == "relaxed" for one in remote.candidates()), 120)
    kill_the_server(remote, mongo, tmp_path / "acknowledged.txt")
    cut_the_network(remote, proxy, loop)
    assert remote.record()["state"] == "running"
    forbid_writing(remote, mongo, loop)
    ends_clean(remote, remote.loop())


@pytest.mark.long
def test_a_network_that_is_down_for_minutes_is_waited_for_and_said(
    remote: Site, proxy: Proxy
) -> None:
    worker, launcher = remote.worker(concurrency=1), remote.launcher(CHAOS_DFT_SECONDS="20")
    loop = remote.loop()
    until(lambda: remote.database["launches"].find_one({"state": "RUNNING"}), 400)
    proxy.reset()
    time.sleep(100)
    assert "the database is away" in remote.log("run")
    assert [remote.ended(pid) for pid in (loop, worker, launcher)] == [None, None, None]
    proxy.mend()
    until(lambda: remote.database["launches"].count_documents({"state": "COMPLETED"}), 120)
    assert remote.ended(launcher) is None  # it went on by itself; a faster one does the rest
    os.kill(launcher, signal.SIGTERM)
    assert remote.wait(launcher, 30) == 0
    remote.launcher()
    ends_clean(remote, loop)
