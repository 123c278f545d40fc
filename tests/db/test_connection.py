"""Connecting: order, refusals, child processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database
from pymongo.errors import AutoReconnect

from db import connection, contact, embedded
from db.connection import (
    DatabaseUnavailable,
    InvalidURI,
    Session,
    connect,
    connect_worker,
    current_database,
)
from db.mongod import find_mongod
from db.uri import normalised, redact

SECRET = "s3cret"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (connection, contact):
        monkeypatch.setattr(module, "FIRST_CONTACT_MS", 600)


def test_unreachable_server_is_one_sentence_without_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISCOVERY_HOME", raising=False)
    monkeypatch.setenv("MONGODB_URI", f"mongodb://ann:{SECRET}@127.0.0.1:1/x?authSource=admin")
    with pytest.raises(DatabaseUnavailable) as caught:
        connect()
    message = str(caught.value)
    assert "mongodb://***@127.0.0.1:1/x" in message
    assert "MONGODB_URI" in message
    assert SECRET not in message
    assert "\n" not in message
    assert caught.value.__suppress_context__  # nor in a traceback
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "uri",
    [
        f"mongodb://ann:{SECRET}@host:port/x",
        f"mongodb://ann:{SECRET}/@host/x",
        f"mongodb://ann:{SECRET}@/x",
        f"http://ann:{SECRET}@host",
        f"ann:{SECRET}@host",
        "localhost:27017",
    ],
)
def test_malformed_address_is_refused_without_credentials(uri: str) -> None:
    with pytest.raises(InvalidURI) as caught:
        connect(uri)
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__


def test_argument_wins_over_the_environment(
    database: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONGODB_URI", "mongodb://127.0.0.1:1")
    with connect(database.uri) as session:
        assert session.source == "argument"
        assert session.database_name == "discovery_test"
    monkeypatch.setenv("MONGODB_URI", database.uri)
    with connect(database="another") as session:
        assert session.source == "MONGODB_URI"
        assert session.database_name == "another"
        assert session.database.name == "another"
        session.database.client.drop_database("another")


def test_closing_a_session_restores_the_one_before(database: Session) -> None:
    database.database["notes"].insert_one({"_id": "outer"})
    with connect(database.uri, database="inner") as session:
        assert session.database["notes"].find_one() is None
    with pytest.raises(DatabaseUnavailable):
        connect("mongodb://127.0.0.1:1")
    assert current_database()["notes"].find_one() == {"_id": "outer"}


@pytest.mark.parametrize("interrupted", ["db.connection.ensure_indexes", "Database.command"])
def test_a_server_that_restarts_while_we_connect_is_asked_again(
    interrupted: str, database: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name = (
        (Database, "command")
        if interrupted == "Database.command"
        else (connection, "ensure_indexes")
    )
    real, broken = getattr(owner, name), []

    def breaks_off_once(*args: Any, **kwargs: Any) -> Any:
        if not broken:
            broken.append(True)
            raise AutoReconnect("connection closed")
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, breaks_off_once)
    with connect(database.uri, database="restarting") as session:
        assert broken
        assert "state_1" in str(session.database["candidates"].index_information())


def test_writes_are_majority_and_journaled(database: Session) -> None:
    assert current_database().write_concern.document == {"w": "majority", "j": True}


def test_fireworks_uses_the_same_database(database: Session) -> None:
    from fireworks import LaunchPad

    pad = LaunchPad(host=database.uri, name=database.database_name, uri_mode=True)
    pad.db["candidates"].find_one()
    assert pad.db.name == database.database_name
    assert pad.db.write_concern.document == {"w": "majority", "j": True}
    pad.connection.close()


def test_a_standalone_server_is_refused(tmp_path: Path) -> None:
    socket = tmp_path / "s" / embedded.SOCKET_NAME
    socket.parent.mkdir()
    arguments = ["--dbpath", str(tmp_path), "--bind_ip", str(socket), "--unixSocketPrefix"]
    server = subprocess.Popen(
        [find_mongod(), *arguments, str(socket.parent)], stdout=subprocess.DEVNULL
    )
    try:
        while not embedded.answers(socket):
            assert server.poll() is None
        with pytest.raises(DatabaseUnavailable, match=r"standalone .* rs\.initiate\(\)"):
            connect(embedded.address(socket, direct=True))
    finally:
        server.kill()
        server.wait()


def test_forked_child_gets_a_connection_of_its_own(database: Session) -> None:
    database.database["notes"].insert_one({"_id": "parent"})
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with connect_worker(database.uri, database.database_name) as session:
                session.database["notes"].insert_one({"_id": "child"})
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    database.database["notes"].insert_one({"_id": "parent again"})
    found = {note["_id"] for note in database.database["notes"].find()}
    assert found == {"parent", "child", "parent again"}


def test_spawned_worker_keeps_an_embedded_server_alive(tmp_path: Path) -> None:
    script = (
        "import sys; from db.connection import connect_worker\n"
        "s = connect_worker(sys.argv[1], 'x'); print('ready', flush=True); sys.stdin.read()\n"
        "s.database['notes'].insert_one({'_id': 'late'})\n"
    )
    leader = (
        "import sys, subprocess; from pathlib import Path; from db.connection import connect\n"
        "s = connect(home=Path(sys.argv[1]))\n"
        "w = subprocess.Popen([sys.executable, '-c', sys.argv[2], s.uri], stdout=-1)\n"
        "w.stdout.readline(); print(w.pid, flush=True)\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "MONGODB_URI"}
    with subprocess.Popen(
        [sys.executable, "-c", leader, str(tmp_path / "home"), script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        process.wait(20)  # the leader is gone; the worker reads our end of its stdin
        record = embedded.ServerRecord.read(embedded.HomeFiles(tmp_path / "home").record)
        assert record is not None
        time.sleep(3.5)
        assert embedded.answers(Path(record.socket)), "stopped under a living worker"
        process.stdin.close()


def test_asking_for_a_database_that_is_not_there_creates_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MONGODB_URI", raising=False)
    with pytest.raises(DatabaseUnavailable, match=r"there is no database in .* yet"):
        connect(home=tmp_path / "home", create=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("mongodb://h/x?w=1", "mongodb://h/d?timeoutMS=30000&w=majority&journal=true"),
        ("mongodb://h?timeoutMS=5", "mongodb://h/d?timeoutMS=5&w=majority&journal=true"),
        ("mongodb://h:1,i:2", "mongodb://h:1,i:2/d?timeoutMS=30000&w=majority&journal=true"),
        (
            "mongodb://u:p@h/x",
            "mongodb://u:p@h/d?authSource=x&timeoutMS=30000&w=majority&journal=true",
        ),
        (
            "mongodb://u:p@h",
            "mongodb://u:p@h/d?authSource=admin&timeoutMS=30000&w=majority&journal=true",
        ),
    ],
)
def test_database_and_write_concern_are_written_into_the_address(uri: str, expected: str) -> None:
    assert normalised(uri, "d") == expected


def test_redaction_hides_credentials_and_options() -> None:
    assert redact("mongodb://u:p@h/x?tlsCertificateKeyFilePassword=p") == "mongodb://***@h/x"
    assert redact("mongodb://h:27017/x") == "mongodb://h:27017/x"
