"""The process that owns the embedded mongod of one home: ``python -m db.supervisor HOME``.

It exits at once when another supervisor owns the home. Otherwise it starts mongod as a child that
dies with it, turns it into a replica set of one, publishes its address, restarts it when it dies
and stops it once no user has held the users' lock for a moment.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from db import embedded
from db.embedded import ServerRecord
from db.locks import FileLock
from db.mongod import EmbeddedServerFailed, MongodNotFound, find_mongod
from db.paths import HomeFiles

POLL_SECONDS = 0.2
IDLE_SECONDS = 2.0
STOP_SECONDS = 20.0
MOST_RESTARTS = 5  # within RESTART_WINDOW_SECONDS
RESTART_WINDOW_SECONDS = 60.0
LARGEST_LOG_BYTES = 20_000_000
CACHE_GB = "1"  # at most; filled as records are read. 200,000 candidates are 1.2 GB (docs/query.md)
PR_SET_PDEATHSIG = 1
ALREADY_INITIALISED = 23


class Mongod:
    """One mongod process on a private unix socket.

    Args:
        files: The files of its home.
        folder: The private folder of its socket.
    """

    def __init__(self, files: HomeFiles, folder: Path) -> None:
        self.files = files
        self.program = find_mongod()
        self.socket = folder / embedded.SOCKET_NAME
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process and wait until it accepts writes.

        Raises:
            EmbeddedServerFailed: It exited or was not ready in time.
        """
        _rotate(self.files.server_log)
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            self._command(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=partial(_die_with, os.getpid()),
        )
        deadline = time.monotonic() + embedded.START_TIMEOUT_SECONDS
        while not self._is_primary():
            if self.process.poll() is not None:
                raise EmbeddedServerFailed(
                    f"{self.program} exited with {self.process.returncode}: "
                    f"{_complaint(self.files.server_log)} (see {self.files.server_log})"
                )
            if time.monotonic() > deadline:
                raise EmbeddedServerFailed(
                    f"{self.program} was not ready in time (see {self.files.server_log})"
                )
            time.sleep(0.05)

    def alive(self) -> bool:
        """Say whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """Stop the process, cleanly if it lets itself be stopped."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _command(self) -> list[str]:
        return [
            str(self.program),
            *("--dbpath", str(self.files.data)),
            *("--replSet", embedded.REPLICA_SET),
            *("--oplogSize", "64"),
            *("--wiredTigerCacheSizeGB", CACHE_GB),
            *("--wiredTigerEngineConfigString", "log=(file_max=10MB,prealloc=false)"),
            *("--networkMessageCompressors", "disabled"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            *("--logpath", str(self.files.server_log), "--logappend"),
            *("--bind_ip", str(self.socket)),
            *("--unixSocketPrefix", str(self.socket.parent)),
            *("--filePermissions", "0600"),
        ]

    def _is_primary(self) -> bool:
        if not embedded.answers(self.socket):
            return False
        try:
            with MongoClient[dict[str, Any]](
                embedded.address(self.socket, direct=True), serverSelectionTimeoutMS=500
            ) as client:
                hello = client.admin.command("hello")
                if hello.get("isWritablePrimary"):
                    return True
                if not hello.get("setName"):
                    self._configure(client)
        except OperationFailure:
            raise
        except PyMongoError:
            return False  # not up yet: the caller's deadline bounds the wait
        return False

    def _configure(self, client: MongoClient[dict[str, Any]]) -> None:
        """Make the server a replica set of one, or tell it its new address after a move."""
        stored = client.local["system.replset"].find_one()
        member = {"_id": 0, "host": str(self.socket)}
        if stored is None:
            wanted = {"_id": embedded.REPLICA_SET, "members": [member]}
            try:
                client.admin.command("replSetInitiate", wanted)
            except OperationFailure as error:
                if error.code != ALREADY_INITIALISED:
                    raise
        elif stored["members"][0]["host"] != str(self.socket):
            stored["members"] = [{**stored["members"][0], **member}]
            stored["version"] += 1
            client.admin.command("replSetReconfig", stored, force=True)


class Supervisor:
    """Owns one home's server from start to stop.

    Args:
        home: The home directory.
    """

    def __init__(self, home: Path) -> None:
        self.files = HomeFiles(home)
        self._owner = FileLock(self.files.owner_lock)
        self._users = FileLock(self.files.users_lock)
        self._stopping = False

    def run(self) -> int:
        """Serve until no user is left.

        Returns:
            The exit code.

        Raises:
            EmbeddedServerFailed: The server does not start or keeps dying.
        """
        if not self._owner.acquire(shared=False):
            return embedded.OWNED_BY_ANOTHER
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        self.files.record.unlink(missing_ok=True)
        folder = embedded.socket_directory(self.files.home)
        embedded.make_private(folder)
        (folder / embedded.HOME_POINTER).write_text(f"{self.files.home}\n")
        mongod = Mongod(self.files, folder)
        try:
            self._serve(mongod)
        finally:
            self.files.record.unlink(missing_ok=True)
            mongod.stop()
            shutil.rmtree(folder, ignore_errors=True)
            self._owner.close()  # before the users' lock: the next user finds nobody in charge
            self._users.close()
        return 0

    def _serve(self, mongod: Mongod) -> None:
        starts: list[float] = []
        while not self._stopping:
            starts = [at for at in starts if time.monotonic() - at < RESTART_WINDOW_SECONDS]
            if len(starts) > MOST_RESTARTS:
                raise EmbeddedServerFailed(f"mongod keeps dying (see {self.files.server_log})")
            starts.append(time.monotonic())
            mongod.start()
            assert mongod.process is not None
            ServerRecord(
                socket=str(mongod.socket),
                supervisor=os.getpid(),
                mongod=mongod.process.pid,
                host=socket.gethostname(),
                program=str(mongod.program),
            ).write(self.files.record)
            if self._watch(mongod):
                return
            self.files.record.unlink(missing_ok=True)

    def _watch(self, mongod: Mongod) -> bool:
        """Wait for the end; True when it is time to stop, False when mongod died."""
        idle_since: float | None = None
        while not self._stopping:
            if not mongod.alive():
                return False
            if self._users.acquire(shared=False):
                idle_since = idle_since or time.monotonic()
                if time.monotonic() - idle_since >= IDLE_SECONDS:
                    return True  # with the users' lock held: newcomers wait for the clean stop
                self._users.close()
            else:
                idle_since = None
            time.sleep(POLL_SECONDS)
        return True

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stopping = True


def _die_with(parent: int) -> None:
    """Ask the kernel to kill this process with its parent, which may be dead already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > LARGEST_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))


def _complaint(log: Path) -> str:
    """Find the last error in mongod's log, whose lines are JSON."""
    found = "no error in its log"
    for line in log.read_text(errors="replace").splitlines()[-200:] if log.exists() else []:
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if entry.get("s") in ("E", "F"):
                found = f"{entry.get('msg')} {entry.get('attr', {}).get('error', '')}".strip()
    return found


def main() -> int:
    """Run the supervisor of the home named on the command line."""
    try:
        return Supervisor(Path(sys.argv[1])).run()
    except (EmbeddedServerFailed, MongodNotFound, PyMongoError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
