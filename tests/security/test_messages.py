"""A real worker takes messages that no loop of ours has written: dropped, and it goes on."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker

from discovery.workers import tasks
from discovery.workers.celery_app import app as application

QUEUE = "relax"


class Harm:
    """Unpickled, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The campaigns whose work was begun by a worker on a broker in memory."""
    done: list[str] = []

    def work_queue(queue: str, campaign: str) -> int:
        done.append(tasks.campaign_of(campaign))
        return 0

    monkeypatch.setattr(tasks, "work_queue", work_queue)
    before = {name: application.conf[name] for name in ("broker_url", "broker_transport_options")}
    application.conf.update(broker_url="memory://", broker_transport_options={})
    application._pool = None
    try:
        yield done
    finally:
        application.conf.update(before)
        application._pool = None


def send(app: Celery, body: Any, serializer: str, task: str = "discovery.relax") -> None:
    headers = {"task": task, "id": "x", "lang": "py", "argsrepr": "", "kwargsrepr": ""}
    with app.connection_for_write() as connection:
        connection.Producer(serializer=serializer).publish(
            body, routing_key=QUEUE, exchange="", headers=headers, declare=[app.amqp.queues[QUEUE]]
        )


def test_only_names_of_campaigns_in_json_reach_the_work(
    worked: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    harm = tmp_path / "harm"
    application.amqp.queues.select_add(QUEUE)
    send(application, (["tiny"], {}, {"harm": Harm(harm)}), "pickle")
    for strange in ({"$ne": None}, "", "../x", "a" * 65, 5, None, "a b", ["tiny"], "a\0"):
        send(application, ([strange], {}, {}), "json")
    send(application, ([], {"campaign": "tiny", "more": 1}, {}), "json")
    send(application, (["tiny"], {}, {}), "json", task="os.system")
    send(application, (["tiny"], {}, {}), "json")
    with (
        caplog.at_level(logging.ERROR),
        start_worker(application, pool="solo", perform_ping_check=False, queues=[QUEUE]),
    ):
        for _ in range(300):
            if worked:
                break
            time.sleep(0.05)
    assert worked == ["tiny"]
    assert not harm.exists()
    text = caplog.text
    assert "untrusted content of type" in text
    assert text.count("is not the name of a campaign") >= 9
    assert "os.system" in text


def test_the_application_takes_json_only() -> None:
    assert application.conf.accept_content == ["json"]
    assert application.conf.task_serializer == application.conf.result_serializer == "json"
    assert application.conf.worker_enable_remote_control is False
    assert set(tasks.TASKS) == {"evaluate", "relax", "screen", "learn"}
