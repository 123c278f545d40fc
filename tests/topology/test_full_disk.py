"""A disk that fills under the embedded database, the broker and the launcher: all wait, and go on.

The disk is a file system in memory of its own, so this test needs the right to mount.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster import until
from history import read, report, violations
from production import Site

from db.connection import Session, connect

pytestmark = [pytest.mark.campaign, pytest.mark.chaos, pytest.mark.timeout(900), pytest.mark.long]

MEGABYTES = 700


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own."""
    if os.geteuid() != 0:
        reason = "a file system can be mounted by root only"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m,mode=700", "tmpfs", folder]
    subprocess.run(mount, check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def connected(home: Path) -> Session | None:
    """Connect to the embedded database of a home, once the loop has made one."""
    if not (home / "mongo").is_dir():
        return None
    return connect(home=home, create=False)


def fill(folder: Path) -> Path:
    """Write until nothing fits any more."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as stream:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    stream.write(bytes(size))
            except OSError:
                continue
    return ballast


def test_a_full_disk_is_waited_for(make_site: Callable[..., Site], tiny_disk: Path) -> None:
    outside = make_site()
    home = tiny_disk / "home"
    site = make_site(outside.uri, MONGODB_URI="", DISCOVERY_BROKER="", DISCOVERY_HOME=str(home))
    loop = site.loop()
    with until(lambda: connected(home), 60) as session:
        site.client, site.database = session.database.client, session.database
        worker, launcher = site.worker(concurrency=1), site.launcher()
        until(lambda: any(one["state"] == "relaxed" for one in site.candidates()), 200)
        ballast = fill(tiny_disk)
        assert shutil.disk_usage(tiny_disk).free < 1 << 14
        until(lambda: "the database is away" in site.log("run"), 120)
        ballast.unlink()
        assert [site.ended(pid) for pid in (loop, worker, launcher)] == [None, None, None]
        assert site.wait(loop, 500) == 0, site.log("run")
        found = violations(read(site.database, site.campaign))
        assert not found, report(found)
