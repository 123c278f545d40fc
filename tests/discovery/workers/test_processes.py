"""Child processes die with their parent and are replaced when they die alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from discovery.workers.processes import Children, ChildrenFailed

SLEEP = [sys.executable, "-c", "import time; time.sleep(120)"]


def wait_until(condition: Callable[[], bool], seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_killed_child_is_replaced_and_all_stop_at_the_end(tmp_path: Path) -> None:
    with Children({}, tmp_path) as children:
        children.start("sleeper", SLEEP)
        first = children.pids()["sleeper"]
        os.kill(first, signal.SIGKILL)
        assert wait_until(lambda: children.watch() == ["sleeper"])
        second = children.pids()["sleeper"]
        assert second != first
    assert not alive(second)


def test_a_child_that_always_dies_is_given_up(tmp_path: Path) -> None:
    with Children({}, tmp_path, restarts=2) as children:
        children.start("broken", [sys.executable, "-c", "print('no'); raise SystemExit(3)"])
        with pytest.raises(ChildrenFailed, match=r"broken died 2 times.*broken\.log"):
            wait_until(lambda: children.watch() == ["never"])
    assert "no" in (tmp_path / "broken.log").read_text()


def test_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path\n"
        "from discovery.workers.processes import Children\n"
        f"children = Children({{}}, Path({str(tmp_path)!r}))\n"
        f"children.start('sleeper', {SLEEP!r})\n"
        "print(children.pids()['sleeper'], flush=True); time.sleep(120)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert alive(child)
    parent.kill()
    parent.wait()
    assert wait_until(lambda: not alive(child))
