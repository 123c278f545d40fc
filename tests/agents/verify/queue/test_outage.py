"""The database goes away while calculations run: none is killed, and none is paid for twice."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fireworks import LaunchPad
from fireworks.core import rocket
from pymatgen.core import Lattice, Structure
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import (
    AutoReconnect,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from agents.verify import firetask
from agents.verify.firetask import RunDFT, run_process
from agents.verify.queue.launchpad import launchpad
from agents.verify.submission import Submission
from db.connection import Session
from db.documents import Calculation


def raising(*errors: PyMongoError | None) -> Callable[..., Any]:
    """A function of the driver that fails, as often as errors are given; then it finds nothing."""
    left = list(errors)

    def answer(*_: Any, **__: Any) -> None:
        error = left.pop(0) if left else None
        if error is not None:
            raise error

    return answer


def task(find_one: Callable[..., Any]) -> RunDFT:
    """A task whose queue answers so."""
    made = RunDFT()
    made.fw_id = 1
    made.launchpad = SimpleNamespace(fireworks=SimpleNamespace(find_one=find_one))
    return made


def test_a_calculation_goes_on_without_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(firetask, "CANCEL_SECONDS", 0.0)
    away = [NetworkTimeout("no answer"), ServerSelectionTimeoutError("nobody there")] * 100
    program = "import time; time.sleep(0.6); open('output.json', 'w').write('{\"result\": {}}')"
    with caplog.at_level(logging.WARNING, "agents.verify.firetask"):
        found = run_process(
            [sys.executable, "-c", program],
            tmp_path,
            tmp_path / "output.json",
            timeout=30,
            nice=0,
            cancelled=task(raising(*away))._cancelled,
        )
    assert found == {"result": {}}
    assert len(caplog.records) == 1


def test_a_database_that_refuses_is_not_away() -> None:
    with pytest.raises(OperationFailure):
        task(raising(OperationFailure("not allowed")))._cancelled()


def test_reports_go_on_after_one_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    stop, reports = threading.Event(), 0
    fail = raising(NetworkTimeout("no answer"), NetworkTimeout("no answer"))

    def ping(launch_id: int) -> None:
        nonlocal reports
        fail()
        reports += 1
        stop.set()

    monkeypatch.setattr(rocket, "PING_TIME_SECS", 0.01)
    queue: Any = SimpleNamespace(ping_launch=ping)
    rocket.ping_launch(queue, 1, stop, threading.current_thread())
    assert reports == 1


@pytest.mark.parametrize("failing", [1, 2])
def test_a_result_that_could_not_be_reported_is_taken_over(
    queue: Submission,
    add_candidate: Any,
    run: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    failing: int,
) -> None:
    """FireWorks tries twice: the second time it reports the error instead of the result."""
    complete = LaunchPad.complete_launch
    fail = raising(*[NetworkTimeout("127.0.0.1:27017: timed out")] * failing)

    def complete_launch(pad: LaunchPad, *arguments: Any, **options: Any) -> Any:
        fail()
        return complete(pad, *arguments, **options)

    monkeypatch.setattr(LaunchPad, "complete_launch", complete_launch)
    crystal = Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    queue.submit(add_candidate(crystal))
    run()
    run()
    monkeypatch.undo()
    relaxation = Calculation.objects(kind="compound", task="relax").first()
    assert relaxation.state == "completed"
    (attempt,) = relaxation.attempts
    assert attempt["left_behind"] is True


@pytest.mark.parametrize("start", ["launchpad", "describe"])
def test_a_server_that_restarts_while_a_process_starts_is_asked_again(
    start: str, database: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name = (
        (Collection, "create_index") if start == "launchpad" else (MongoClient, "server_info")
    )
    real, broken = getattr(owner, name), []

    def breaks_off_once(*args: Any, **kwargs: Any) -> Any:
        if not broken:
            broken.append(True)
            raise AutoReconnect("connection closed")
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, breaks_off_once)
    answer = launchpad(database) if start == "launchpad" else database.describe()
    assert broken
    assert answer
