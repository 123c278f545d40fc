"""The embedded database: one private mongod for each home directory, shared by all its users.

A user holds a shared lock and, when no server answers, starts a supervisor. The supervisor that
wins the owner lock owns mongod (see `db.supervisor`) and stops it once no user is left. Every lock
is the kernel's, so killing anybody at any moment leaves nothing to clean up by hand.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_plus, unquote

from db.locks import FileLock
from db.mongod import EmbeddedServerFailed as EmbeddedServerFailed
from db.mongod import MongodNotFound as MongodNotFound  # offered here too
from db.mongod import find_mongod as find_mongod
from db.mongod import mongod_version as mongod_version
from db.paths import HomeFiles

REPLICA_SET = "rs0"
SOCKET_NAME = "mongodb-27017.sock"
HOME_POINTER = "home"
LONGEST_SOCKET_PATH = 100  # the kernel's sockaddr_un holds 107 characters
START_TIMEOUT_SECONDS = 60.0
GUARD_SECONDS = 1.0
PAUSE_SECONDS = 5.0  # before a supervisor that gave up is replaced
OWNED_BY_ANOTHER = 3  # exit code of a supervisor that found another one at work


def socket_directory(home: Path) -> Path:
    """Name the private folder of the server's socket; nothing is created.

    Args:
        home: The resolved home directory.

    Returns:
        A short path below the temporary directory, keyed by the user and the home.

    Raises:
        EmbeddedServerFailed: The temporary directory's name is too long for a socket.
    """
    key = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"discovery-{os.getuid()}-{key}"
    if len(os.fsencode(folder / SOCKET_NAME)) > LONGEST_SOCKET_PATH:
        raise EmbeddedServerFailed(
            f"{folder / SOCKET_NAME} is too long for a socket: set TMPDIR to a shorter folder"
        )
    return folder


def make_private(folder: Path) -> None:
    """Create a folder for one user's eyes, or check that it is one.

    Raises:
        EmbeddedServerFailed: Somebody else made it, or others can enter it.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise EmbeddedServerFailed(
            f"{folder} is not a private folder of this user: remove it or set TMPDIR"
        )


def address(socket_path: Path, *, direct: bool = False) -> str:
    """Write the address of a server on a unix socket.

    Args:
        socket_path: The socket.
        direct: Talk to it whatever its state; else as the primary of its replica set, so that
            writes wait while it restarts.
    """
    option = "directConnection=true" if direct else f"replicaSet={REPLICA_SET}"
    return f"mongodb://{quote_plus(str(socket_path))}/?{option}"


def answers(socket_path: Path) -> bool:
    """Say whether a server listens on a unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2.0)
        try:
            probe.connect(str(socket_path))
        except OSError:
            return False
    return True


def home_of(uri: str) -> HomeFiles | None:
    """Find the home of the embedded server behind an address, if it is one."""
    host = unquote(uri.partition("://")[2].partition("/")[0].rpartition("@")[2])
    pointer = Path(host).parent / HOME_POINTER
    if not host.endswith(SOCKET_NAME) or not pointer.is_file():
        return None
    return HomeFiles(Path(pointer.read_text().strip()))


@dataclass(frozen=True)
class ServerRecord:
    """Where a ready embedded server is.

    Args:
        socket: Path of its unix socket.
        supervisor: Process id of its supervisor.
        mongod: Process id of the server.
        host: Name of the machine it runs on.
        program: The mongod program.
    """

    socket: str
    supervisor: int
    mongod: int
    host: str
    program: str

    @classmethod
    def read(cls, path: Path) -> ServerRecord | None:
        """Read the record of a home; None while no server is ready."""
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            return None

    def write(self, path: Path) -> None:
        """Publish the record in one step."""
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps(self.__dict__))
        draft.replace(path)


class EmbeddedServer:
    """The use of a home's server by this process, until `close`.

    Args:
        home: The home directory.
    """

    def __init__(self, home: Path) -> None:
        self.files = HomeFiles(home)
        self._users = FileLock(self.files.users_lock)
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._closing = threading.Event()

    def start(self) -> str:
        """Use the running server or start one.

        Returns:
            Its address.

        Raises:
            MongodNotFound: There is no mongod; nothing has been written.
            EmbeddedServerFailed: It did not start; the message carries its last words.
        """
        record = ServerRecord.read(self.files.record)
        if record is None or not answers(Path(record.socket)):
            find_mongod()
            socket_directory(self.files.home)
        try:
            self.files.create()
        except OSError as error:
            raise EmbeddedServerFailed(
                f"{self.files.home} cannot hold the database ({error.strerror}): set DISCOVERY_HOME"
            ) from error
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        if not self._users.acquire(shared=True, timeout=START_TIMEOUT_SECONDS):
            raise EmbeddedServerFailed(f"{self.files.users_lock} stayed locked: is a stop hanging?")
        try:
            uri = self._wait_until_ready(deadline)
        except BaseException:
            self._users.close()
            raise
        threading.Thread(target=self._guard, name="embedded-database", daemon=True).start()
        return uri

    def close(self) -> None:
        """Stop using the server; it stops soon after its last user is gone."""
        self._closing.set()
        self._users.close()

    def _wait_until_ready(self, deadline: float) -> str:
        while time.monotonic() < deadline:
            record = ServerRecord.read(self.files.record)
            if record is not None:
                if answers(Path(record.socket)):
                    return address(Path(record.socket))
                self._refuse_foreign(record)
            self._start_supervisor()
            time.sleep(0.05)
        raise EmbeddedServerFailed(
            f"the embedded mongod of {self.files.home} was not ready after "
            f"{START_TIMEOUT_SECONDS:.0f} s: see {self.files.server_log}"
        )

    def _refuse_foreign(self, record: ServerRecord) -> None:
        owner = FileLock(self.files.owner_lock)
        if record.host == socket.gethostname() or owner.acquire(shared=False):
            owner.close()
            return
        raise EmbeddedServerFailed(
            f"the embedded database of {self.files.home} is in use on {record.host}: "
            "stop it there, or share a server through MONGODB_URI"
        )

    def _start_supervisor(self) -> None:
        if self._supervisor is not None:
            code = self._supervisor.poll()
            if code is None:
                return
            if code not in (0, OWNED_BY_ANOTHER, -9, -15):
                raise EmbeddedServerFailed(last_words(self.files.supervisor_log))
        source = str(Path(__file__).resolve().parent.parent)
        path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
        with self.files.supervisor_log.open("ab") as log:
            self._supervisor = subprocess.Popen(
                [sys.executable, "-P", "-m", "db.supervisor", str(self.files.home)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": path},
                cwd=self.files.home,
            )

    def _guard(self) -> None:
        """Replace a supervisor that was killed while this process still needs its server."""
        while not self._closing.wait(GUARD_SECONDS):
            record = ServerRecord.read(self.files.record)
            if record is None or not answers(Path(record.socket)):
                try:
                    self._start_supervisor()
                except (EmbeddedServerFailed, OSError):  # its disk is full, for instance
                    if not self._closing.wait(PAUSE_SECONDS):
                        self._supervisor = None  # try again


def last_words(log: Path) -> str:
    """Read the last line of a log."""
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else f"the supervisor stopped without a word (see {log})"
