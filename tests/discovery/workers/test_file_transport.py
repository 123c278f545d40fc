"""Messages in files are whole or not there; what is not whole harms nobody."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from kombu import Connection
from kombu.exceptions import ChannelError

from discovery.workers.celery_app import transport
from discovery.workers.file_transport import Transport


@pytest.fixture
def connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    monkeypatch.setenv("DISCOVERY_HOME", str(tmp_path))
    monkeypatch.delenv("DISCOVERY_BROKER", raising=False)
    app = Celery("test")
    app.conf.update(transport())
    with app.connection_for_write() as made:
        assert isinstance(made.transport, Transport)
        yield made


@pytest.fixture
def name(tmp_path: Path) -> str:
    """Kombu remembers for the whole process which queues it has declared: each has its own."""
    return tmp_path.name.replace("_", "-")


def messages(folder: Path) -> list[str]:
    return [file.name for file in (folder / "broker" / "messages").iterdir()]


def test_messages_come_in_order_and_are_counted(connection: Connection, name: str) -> None:
    queue = connection.SimpleQueue(name)
    for number in range(3):
        queue.put({"n": number})
    assert queue.qsize() == 3
    assert [queue.get(timeout=5).payload["n"] for _ in range(3)] == [0, 1, 2]


def test_a_message_that_is_not_whole_is_dropped(
    connection: Connection, tmp_path: Path, name: str
) -> None:
    queue = connection.SimpleQueue(name)
    queue.put({"n": 1})
    for text in ("", '{"body": "ey'):
        (tmp_path / "broker" / "messages" / f"!{len(text)}.{name}.msg").write_text(text)
    assert queue.get(timeout=5).payload == {"n": 1}
    assert queue.qsize() == 0


def test_a_full_disk_leaves_nothing_of_a_message(
    connection: Connection, tmp_path: Path, name: str
) -> None:
    queue = connection.SimpleQueue(name)
    queue.put({"n": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(ChannelError, match="no message can be written"):
            queue.put({"n": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(messages(tmp_path)) == 1
