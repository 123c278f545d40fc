"""Connecting to the database: an address, `$MONGODB_URI`, or the embedded server, in that order."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import mongoengine
import pymongo
from mongoengine import connection as registry
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError

from db import documents
from db.contact import FIRST_CONTACT_MS, first_contact
from db.embedded import EmbeddedServer, home_of
from db.locks import FileLock
from db.migrations import is_migrated, migrate
from db.mongod import EmbeddedServerFailed, MongodNotFound
from db.paths import HomeFiles, home_directory
from db.reference_documents import REFERENCE_DOCUMENTS
from db.retry import idempotent, patience
from db.uri import DatabaseUnavailable, InvalidURI, database_of, normalised, redact

__all__ = [
    "DatabaseUnavailable",
    "EmbeddedServerFailed",
    "InvalidURI",
    "MongodNotFound",
    "Session",
    "connect",
    "connect_worker",
    "current_database",
    "ensure_indexes",
    "home_directory",
    "probe",
]

ALIAS = "default"
DATABASE_NAME = "discovery"
UPGRADE_SECONDS = 3600.0
FAREWELL_SECONDS = 1.0
UNAUTHORIZED = 13

_open_sessions: list[Session] = []  # the last one is registered with mongoengine
_inherited: list[Any] = []  # clients of a parent process: never closed, never used


class Session:
    """A connection to the database, until `close` or the end of its ``with`` block.

    The session opened last is the one that the records are read from and written to; when it is
    closed, the one opened before it is so again.

    Attributes:
        uri: Address with credentials, for child processes and FireWorks; print `describe` instead.
        database_name: Name of the database.
        source: "argument", "MONGODB_URI" or "embedded".
        home: Home directory of the embedded server, else None.
    """

    def __init__(
        self,
        uri: str,
        database_name: str,
        source: str,
        hello: dict[str, Any],
        *,
        embedded: EmbeddedServer | None = None,
        lock: FileLock | None = None,
    ) -> None:
        self.uri = uri
        self.database_name = database_name
        self.source = source
        self.home: Path | None = embedded.files.home if embedded else None
        self._hello = hello
        self._embedded = embedded
        self._lock = lock
        self.process = os.getpid()

    @property
    def database(self) -> Database[dict[str, Any]]:
        """The database, for queries that have no module of their own."""
        return current_database()

    @idempotent
    def describe(self) -> dict[str, Any]:
        """Say what the connection is, without credentials."""
        return {
            "server": self.source,
            "address": redact(self.uri),
            "database": self.database_name,
            "version": self.database.client.server_info()["version"],
            "replica_set": self._hello.get("setName"),
            "home": str(self.home) if self.home else None,
        }

    def close(self) -> None:
        """Close the connection; an embedded server stops soon after its last user."""
        if os.getpid() == self.process and self in _open_sessions:
            was_last = _open_sessions[-1] is self
            _open_sessions.remove(self)
            if was_last:
                _register(_open_sessions[-1] if _open_sessions else None)
        if self._embedded is not None:
            self._embedded.close()
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def connect(
    uri: str | None = None,
    *,
    home: Path | None = None,
    database: str | None = None,
    create: bool = True,
) -> Session:
    """Connect this process to the database and make sure that its indexes exist.

    Args:
        uri: Address of a MongoDB replica set; default ``$MONGODB_URI``, else the embedded server.
        home: Home directory of the embedded server; default `home_directory()`.
        database: Name of the database; default the one in the address, else "discovery".
        create: Whether an embedded database may be created where there is none.

    Returns:
        The open session, registered with mongoengine.

    Raises:
        DatabaseUnavailable: It does not answer, refuses, or is not usable.
        InvalidURI: The address is malformed.
        MongodNotFound: No address is given and there is no mongod to start.
        EmbeddedServerFailed: The embedded server did not start.
    """
    chosen, source = uri, "argument"
    if not chosen:
        chosen, source = os.environ.get("MONGODB_URI"), "MONGODB_URI"
    server: EmbeddedServer | None = None
    lock: FileLock | None = None
    if chosen:
        lock = _use(chosen)
    else:
        source = "embedded"
        files = HomeFiles(home or home_directory())
        if not create and not files.data.is_dir():
            raise DatabaseUnavailable(
                f"there is no database in {files.home} yet: `discovery run` creates it, "
                "or set DISCOVERY_HOME or MONGODB_URI to where it is"
            )
        server = EmbeddedServer(files.home)
        chosen = server.start()
    try:
        session = _open(chosen, database, source, server, lock)
    except BaseException:
        for used in (server, lock):
            if used is not None:
                used.close()
        raise
    try:
        with pymongo.timeout(UPGRADE_SECONDS):  # a large database of an older version takes long
            _bring_up_to_date(must_write=create)
    except PyMongoError as error:
        session.close()
        raise DatabaseUnavailable(
            f"{session.database_name} at {redact(session.uri)} cannot be given its indexes: "
            f"{type(error).__name__}, code {getattr(error, 'code', None)}"
        ) from None
    return session


def probe(uri: str, source: str = "MONGODB_URI") -> str:
    """Check that a server can be used, without connecting this process to it.

    Args:
        uri: Its address.
        source: Where the address comes from, for the message.

    Returns:
        The server's version.

    Raises:
        DatabaseUnavailable: It does not answer, refuses, or is not usable.
        InvalidURI: The address is malformed.
    """
    address = normalised(uri, database_of(uri) or DATABASE_NAME)
    first_contact(address, source)
    with MongoClient[dict[str, Any]](address) as client:
        return str(client.server_info()["version"])


def connect_worker(uri: str, database: str) -> Session:
    """Connect a child process, forked or spawned, to its parent's database.

    A client inherited by fork is put aside, neither used nor closed. When the address is that of an
    embedded server, the child counts as one of its users.

    Args:
        uri: `Session.uri` of the parent.
        database: `Session.database_name` of the parent.

    Returns:
        The open session.

    Raises:
        DatabaseUnavailable: It does not answer or refuses.
        InvalidURI: The address is malformed.
    """
    _forget_inherited()
    lock = _use(uri)
    try:
        return _open(uri, database, "argument", None, lock)
    except BaseException:
        if lock is not None:
            lock.close()
        raise


def current_database() -> Database[dict[str, Any]]:
    """The connected database of this process.

    Raises:
        DatabaseUnavailable: `connect` has not been called.
    """
    try:
        found: Database[dict[str, Any]] = registry.get_db(ALIAS)
    except registry.ConnectionFailure:
        raise DatabaseUnavailable("not connected: call db.connection.connect() first") from None
    return found


@idempotent
def _bring_up_to_date(*, must_write: bool) -> None:
    """Make indexes and records those of this version; who only looks needs not have the right.

    Raises:
        OperationFailure: The user may not write, but wants to, or others have not done it yet.
    """
    try:
        ensure_indexes()
        migrate(current_database())
    except OperationFailure as error:
        if must_write or error.code != UNAUTHORIZED or not is_migrated(current_database()):
            raise


def ensure_indexes() -> None:
    """Create the indexes that are missing."""
    for kind in (*documents.DOCUMENTS, *REFERENCE_DOCUMENTS):
        kind.ensure_indexes()
    # One index for the numbers of every model, whatever its name; mongoengine has no such index.
    current_database()["candidates"].create_index(
        {"$**": 1}, wildcardProjection={"properties": 1, "levels": 1}
    )


def _use(uri: str) -> FileLock | None:
    """Count as a user of the embedded server behind an address, if it is one."""
    files = home_of(uri)
    if files is None or not files.users_lock.exists():
        return None
    lock = FileLock(files.users_lock)
    lock.acquire(shared=True, timeout=FIRST_CONTACT_MS / 1000)
    return lock


def _open(
    uri: str,
    database: str | None,
    source: str,
    server: EmbeddedServer | None,
    lock: FileLock | None = None,
) -> Session:
    name = database or database_of(uri) or DATABASE_NAME
    uri = normalised(uri, name)
    hello = first_contact(uri, source)
    session = Session(uri, name, source, hello, embedded=server, lock=lock)
    _open_sessions.append(session)
    _register(session)
    return session


def _register(session: Session | None) -> None:
    """Make a session the one that mongoengine uses; the client connects when it is first used."""
    with patience(FAREWELL_SECONDS):  # the driver tells the server which sessions have ended
        mongoengine.disconnect(ALIAS)
    if session is None:
        return
    mongoengine.connect(
        session.database_name,
        host=session.uri,
        alias=ALIAS,
        tz_aware=True,
        uuidRepresentation="standard",
        connectTimeoutMS=10_000,
        appname="discovery",
    )


def _forget_inherited() -> None:
    """Drop the sessions and clients that were opened before a fork."""
    if all(session.process == os.getpid() for session in _open_sessions):
        return
    _open_sessions.clear()
    _inherited.extend(registry._connections.values())
    registry._connections.clear()
    mongoengine.disconnect(ALIAS)
