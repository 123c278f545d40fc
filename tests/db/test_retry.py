"""Reads and writes of every tick survive a server that is killed under them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pymongo import MongoClient, monitoring
from pymongo.errors import AutoReconnect, ServerSelectionTimeoutError

from db import candidates, events, queries
from db.connection import connect
from db.documents import Candidate
from db.embedded import ServerRecord
from db.paths import HomeFiles
from db.retry import idempotent, patience
from db.states import State


class Killer(monitoring.CommandListener):
    """Kills the server at the moment a command of some name is sent to it, once."""

    def __init__(self) -> None:
        self.command: str | None = None
        self.home: Path | None = None

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name == self.command and self.home is not None:
            self.command = None
            record = ServerRecord.read(HomeFiles(self.home).record)
            assert record is not None
            os.kill(record.mongod, signal.SIGKILL)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing to do."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing to do."""

    @contextmanager
    def at(self, command: str) -> Iterator[None]:
        self.command = command
        yield
        assert self.command is None, f"{command} was never sent"


KILLER = Killer()
monitoring.register(KILLER)


def test_reads_and_guarded_writes_survive_a_kill_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MONGODB_URI", raising=False)
    KILLER.home = tmp_path / "home"
    proposals = [
        {"generator_version": "g", "codes_hash": str(number), "codes": {"a": 1}}
        for number in range(250)
    ]
    with connect(home=KILLER.home):
        names = candidates.insert_proposals("c", proposals)
        with KILLER.at("getMore"):
            assert [found.id for found in Candidate.objects(campaign="c").order_by("seq")] == names
        with KILLER.at("getMore"):
            assert [found["id"] for found in queries.find("c")] == names
        with KILLER.at("getMore"):
            assert len(events.events("c")) == 250
        with KILLER.at("hello"):
            assert events.server_time().tzinfo is not None
        with KILLER.at("update"):
            candidates.transition(
                names[0], source=State.PROPOSED, to=State.EVALUATED, token=0, agent="test"
            )
        assert [entry["to"] for entry in candidates.load(names[0]).history] == [
            "proposed",
            "evaluated",
        ]
        assert candidates.counts("c")["proposed"] == 249


def test_patience_bounds_a_server_that_is_not_there() -> None:
    asked = []

    @idempotent
    def ask() -> None:
        asked.append(True)
        raise AutoReconnect("nobody there")

    for seconds in (0.3, 0.6):
        began = time.monotonic()
        with pytest.raises(AutoReconnect), patience(seconds):
            ask()
        assert seconds <= time.monotonic() - began < seconds + 5
    assert len(asked) > 4
    silent: MongoClient[dict[str, object]] = MongoClient("mongodb://127.0.0.1:9")
    began = time.monotonic()
    with silent, pytest.raises(ServerSelectionTimeoutError), patience(0.3):
        silent.admin.command("ping")
    assert time.monotonic() - began < 5
