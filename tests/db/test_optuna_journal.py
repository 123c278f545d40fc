"""Optuna's journal in the embedded database: Optuna's own tests, then writers that race and die."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time

import optuna
import pytest
from optuna.storages import BaseStorage, JournalStorage
from optuna.testing.pytest_storages import StorageTestCase

from db.connection import Session, current_database
from db.optuna_journal import COLLECTION, ONCE, AlreadyLogged, MongoJournalBackend, delete_journal


class TestStorageOfOptuna(StorageTestCase):
    """Optuna's own tests of a storage."""

    @pytest.fixture
    def storage(self, database: Session) -> BaseStorage:
        return JournalStorage(MongoJournalBackend("test"))


CONNECT = """
import sys
from db.connection import connect_worker
from db.optuna_journal import MongoJournalBackend
uri, database, journal, argument = sys.argv[1:]
session = connect_worker(uri, database)
backend = MongoJournalBackend(journal)
print("ready", flush=True)
sys.stdin.readline()
"""

APPEND_MANY = """
for start in range(0, 100, 5):
    logs = [{"op_code": 10, "writer": argument, "item": start + i} for i in range(5)]
    backend.append_logs(logs)
session.close()
"""

APPEND_FOR_EVER = """
start = 0
while True:
    backend.append_logs([{"op_code": 10, "item": start + i} for i in range(50)])
    start += 50
"""

OPTIMISE = """
import optuna
optuna.logging.set_verbosity(optuna.logging.WARNING)
storage = optuna.storages.JournalStorage(backend)
study = optuna.load_study(study_name="shared", storage=storage)
study.optimize(lambda trial: trial.suggest_float("x", -1, 1) ** 2, n_trials=int(argument))
session.close()
"""


def start(script: str, database: Session, *arguments: str) -> subprocess.Popen[str]:
    """Start a process that is connected and waits for the starting shot."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            CONNECT + script,
            database.uri,
            database.database_name,
            *arguments,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def race(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0


def numbers(journal):
    found = current_database()[COLLECTION].find({"journal": journal}).sort("number", 1)
    return [document["number"] for document in found]


def test_two_processes_lose_and_double_nothing(database: Session):
    race(*(start(APPEND_MANY, database, "race", writer) for writer in "ab"))
    logs = MongoJournalBackend("race").read_logs(0)
    assert numbers("race") == list(range(200))
    for writer in "ab":
        own = [log["item"] for log in logs if log["writer"] == writer]
        assert own == list(range(100))  # all, once, in the order written
    alternations = sum(a["writer"] != b["writer"] for a, b in itertools.pairwise(logs))
    assert alternations > 2, "the two never wrote at the same time: the test proves nothing"


def test_a_killed_writer_leaves_no_hole(database: Session):
    for _ in range(3):
        before = len(numbers("killed"))
        writer = start(APPEND_FOR_EVER, database, "killed", "")
        writer.stdin.write("go\n")
        writer.stdin.flush()
        while len(numbers("killed")) < before + 70:
            time.sleep(0.005)
        writer.kill()
        writer.communicate(timeout=10)
        found = numbers("killed")
        assert found == list(range(len(found)))
        items = [log["item"] for log in MongoJournalBackend("killed").read_logs(before)]
        assert items == list(range(len(items)))


def test_two_processes_optimise_one_study(database: Session):
    storage = JournalStorage(MongoJournalBackend("optimise"))
    study = optuna.create_study(study_name="shared", storage=storage)
    race(*(start(OPTIMISE, database, "optimise", "15") for _ in range(2)))
    assert [trial.number for trial in study.trials] == list(range(30))
    assert all(trial.state.is_finished() for trial in study.trials)
    again = optuna.load_study(
        study_name="shared", storage=JournalStorage(MongoJournalBackend("optimise"))
    )
    assert again.trials == study.trials


def test_a_log_that_names_itself_is_written_once(database: Session):
    backend = MongoJournalBackend("once")
    log = {"op_code": 4, "study_id": 0, "user_attrs": {ONCE: "episode 3, slot 5"}}
    backend.append_logs([log, {"op_code": 10}])
    for _ in range(2):
        with pytest.raises(AlreadyLogged, match="episode 3, slot 5"):
            backend.append_logs([log])
    assert backend.read_logs(0) == [log, {"op_code": 10}]
    MongoJournalBackend("another").append_logs([log])
    assert MongoJournalBackend("another").read_logs(0) == [log]


def test_an_append_that_lost_its_answer_happens_once(database: Session, monkeypatch):
    from pymongo.collection import Collection
    from pymongo.errors import AutoReconnect

    real, calls = Collection.insert_one, []

    def insert_and_lose_the_answer(self, document, *args, **kwargs):
        result = real(self, document, *args, **kwargs)
        calls.append(document["number"])
        if len(calls) == 1:
            raise AutoReconnect("the connection broke")
        return result

    monkeypatch.setattr(Collection, "insert_one", insert_and_lose_the_answer)
    backend = MongoJournalBackend("lost")
    backend.append_logs([{"op_code": 10, "item": 0}, {"op_code": 10, "item": 1}])
    assert [log["item"] for log in backend.read_logs(0)] == [0, 1]
    assert numbers("lost") == [0, 1]


def test_reading_starts_where_it_is_told(database: Session):
    backend = MongoJournalBackend("part")
    logs = [{"op_code": 10, "a.b": {"$set": value}} for value in (1, 2**70, float("inf"))]
    backend.append_logs(logs)
    assert [backend.read_logs(start) for start in range(4)] == [logs[i:] for i in range(4)]
    assert MongoJournalBackend("empty").read_logs(0) == []


def test_a_deleted_journal_is_empty(database: Session):
    for name in ("gone", "kept"):
        storage = JournalStorage(MongoJournalBackend(name))
        optuna.create_study(study_name="a", storage=storage)
    assert delete_journal("gone") == 1
    assert JournalStorage(MongoJournalBackend("gone")).get_all_studies() == []
    assert len(JournalStorage(MongoJournalBackend("kept")).get_all_studies()) == 1
