"""The process between a launcher and its DFT code, with real processes that try to get away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agents.verify.queue import guard

GUARD = [sys.executable, "-I", "-S", guard.__file__]
RANKS = """
import os, subprocess, sys, time
same_group = subprocess.Popen(["sleep", sys.argv[1]])
own_session = subprocess.Popen(["sleep", sys.argv[1]], start_new_session=True)
if os.fork() == 0:  # an orphan in a session of its own, as a daemon makes itself
    os.setsid()
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", sys.argv[1]])
    os._exit(0)
time.sleep(0.2)
open(sys.argv[2], "w").close()
time.sleep(float(sys.argv[3]))
"""
LAUNCHER = """
import subprocess, sys, os, time
subprocess.Popen([*sys.argv[1:5], str(os.getpid()), *sys.argv[5:]])
time.sleep(1000)
"""


def marked(mark: str) -> list[int]:
    """Find the living processes whose command line holds a mark."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                command = (folder / "cmdline").read_bytes().decode(errors="replace")
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if mark in command and state not in "ZX":
                found.append(int(folder.name))
    return found


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def mark() -> str:
    """A time to sleep that nobody else asks for."""
    return f"1000.{time.time_ns()}"


@pytest.fixture
def ranks(tmp_path: Path, mark: str) -> Callable[[float], list[str]]:
    """The command of a code that starts processes in every way there is, and lives so long."""

    def command(seconds: float) -> list[str]:
        return [sys.executable, "-c", RANKS, mark, str(tmp_path / "up"), str(seconds)]

    return command


def start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*GUARD, str(os.getpid()), *command], start_new_session=True)


def test_nothing_is_left_when_the_launcher_is_killed(
    ranks: Callable[[float], list[str]], tmp_path: Path, mark: str
) -> None:
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER, *GUARD, *ranks(1000)])
    until((tmp_path / "up").exists)
    assert len([pid for pid in marked(mark) if pid != launcher.pid]) == 5  # 3 ranks, code, guard
    launcher.kill()
    launcher.wait()
    until(lambda: not marked(mark), 5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_it_is_asked_to_stop(
    ranks: Callable[[float], list[str]], tmp_path: Path, mark: str, number: int
) -> None:
    process = start(ranks(1000))
    until((tmp_path / "up").exists)
    process.send_signal(number)
    assert process.wait(timeout=10) == -signal.SIGKILL
    assert not marked(mark)


def test_nothing_is_left_when_the_code_ends(
    ranks: Callable[[float], list[str]], tmp_path: Path, mark: str
) -> None:
    process = start(ranks(0.0))
    assert process.wait(timeout=20) == 0
    assert (tmp_path / "up").exists()
    assert not marked(mark)


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("raise SystemExit(3)", 3),
        ("import os; os.kill(os.getpid(), 9)", -9),
        ("import os; os.kill(os.getpid(), 11)", -11),
    ],
)
def test_it_ends_as_the_code_did(program: str, code: int) -> None:
    process = start([sys.executable, "-I", "-S", "-c", program])
    assert process.wait(timeout=20) == code


def test_a_program_that_is_not_there_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    assert start(["no-such-code"]).wait(timeout=20) == guard.NOT_FOUND
    assert "no-such-code: No such file or directory" in capfd.readouterr().err


def test_it_does_not_start_for_a_launcher_that_is_gone(tmp_path: Path) -> None:
    process = subprocess.Popen([*GUARD, "1", "touch", str(tmp_path / "started")])
    assert process.wait(timeout=20) == 1
    assert not (tmp_path / "started").exists()


def test_it_pauses_while_a_process_will_not_die(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: Iterator[list[int]] = iter([[99], [99], [99], []])
    pauses: list[float] = []
    monkeypatch.setattr(guard, "descendants", lambda process: next(looks))
    monkeypatch.setattr(guard, "_kill", lambda process: None)
    monkeypatch.setattr(guard.time, "sleep", pauses.append)
    guard.end_descendants()
    assert pauses == [guard.PAUSE_SECONDS] * 3
