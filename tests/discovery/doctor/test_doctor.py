"""``discovery doctor``: what is said of the machine and of what runs, with faults planted."""

from __future__ import annotations

import shutil
from collections import namedtuple
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from db import campaigns, candidates
from db.connection import Session
from db.owners import owner_name
from db.states import State
from discovery.doctor import machine as doctor_state
from discovery.doctor.machine import disk, running
from discovery.doctor.parts import Part

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def here(database: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Session:
    """The test's database as that of MONGODB_URI, with its leases at home and a silent broker.

    This process's broker is that of its first import: what other tests left there is not asked.
    """
    monkeypatch.setenv("MONGODB_URI", database.uri)
    monkeypatch.setattr("discovery.workers.celery_app.unheard", lambda queue: 0)
    monkeypatch.setenv("DISCOVERY_HOME", str(tmp_path))
    monkeypatch.delenv("DISCOVERY_BROKER", raising=False)
    (tmp_path / "broker").mkdir()
    campaigns.create("c", config={}, seed=0)
    return database


def parts() -> dict[str, Part]:
    return {part.name: part for part in running()}


def test_room_on_the_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DISCOVERY_HOME", str(tmp_path / "not" / "yet"))
    for free, status, advice in (
        (500, "ok", ""),
        (5, "ok", "little room"),
        (0.5, "broken", "room"),
    ):
        usage = Usage(10**12, 0, int(free * 2**30))
        monkeypatch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
        found = disk()
        assert found.status == status
        assert advice in found.advice
        assert str(tmp_path) in found.detail
        assert found.needed


def test_nothing_is_started_where_nothing_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MONGODB_URI", raising=False)
    monkeypatch.setenv("DISCOVERY_HOME", str(tmp_path / "home"))
    assert {part.detail for part in running()} == {"no database runs here now"}
    assert list(tmp_path.iterdir()) == []


def test_an_embedded_database_that_runs_is_asked(
    mongo_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MONGODB_URI", raising=False)
    monkeypatch.setenv("DISCOVERY_HOME", str(mongo_session.home))
    found = parts()
    assert found["writes"].status == "ok"
    assert "majority, journaled: True; replica set rs0 of 1" in found["writes"].detail


def test_a_sound_campaign_is_ok(here: Session) -> None:
    campaigns.lead("c", owner_name(), 60)
    candidates.insert_proposals(
        "c", [{"generator_version": "g", "codes_hash": "h", "codes": {"crystal": [1]}}]
    )
    candidates.lease("c", State.PROPOSED, owner_name(), 1, 60)
    found = parts()
    assert {part.status for part in found.values()} == {"ok"}
    assert "1 running" in found["campaigns"].detail
    assert "1 hold candidates now, 1 of them on this machine" in found["workers"].detail


def test_a_campaign_without_its_loop_is_named(here: Session) -> None:
    found = parts()["campaigns"]
    assert found.status == "broken"
    assert "nobody leads c" in found.detail
    assert "discovery repair c" in found.advice


def test_a_worker_that_died_is_noticed(here: Session) -> None:
    campaigns.lead("c", owner_name(), 60)
    candidates.insert_proposals(
        "c", [{"generator_version": "g", "codes_hash": "h", "codes": {"crystal": [1]}}]
    )
    host, machine, _, _, rest = owner_name().split("/")
    gone = f"{host}/{machine}/{2**22 + 1}/1/{rest}"  # above the largest process id
    candidates.lease("c", State.PROPOSED, gone, 1, 60)
    found = parts()["workers"]
    assert found.status == "broken"
    assert "1 of this machine died" in found.detail


def test_hints_that_nobody_hears_are_noticed(
    here: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaigns.lead("c", owner_name(), 60)
    monkeypatch.setattr(
        "discovery.workers.celery_app.unheard", lambda queue: 20 if queue == "relax" else 0
    )
    found = parts()["workers"]
    assert found.status == "missing"
    assert "relax (20)" in found.detail
    assert found.advice == "start a worker: discovery worker --queue relax"


def test_no_broker_is_made_to_be_asked(here: Session, tmp_path: Path) -> None:
    (tmp_path / "broker").rmdir()
    campaigns.lead("c", owner_name(), 60)
    assert parts()["workers"].status == "ok"
    assert not (tmp_path / "broker").exists()


@pytest.mark.parametrize(("hours", "status"), [(0, "ok"), (-1, "broken"), (1, "broken")])
def test_the_clock_is_compared_with_the_databases(
    here: Session, monkeypatch: pytest.MonkeyPatch, hours: int, status: str
) -> None:
    real = doctor_state.datetime

    class Clock:
        @staticmethod
        def now(zone: Any) -> Any:
            return real.now(zone) + timedelta(hours=hours)

    monkeypatch.setattr(doctor_state, "datetime", Clock)
    found = parts()["clock"]
    assert found.status == status
    if hours:
        assert found.detail.startswith("differs from the database's by 3")
        assert "NTP" in found.advice


def test_a_database_that_is_away_is_said_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MONGODB_URI", "mongodb://ann:planted-word@127.0.0.1:9/x")
    monkeypatch.setattr(doctor_state, "PATIENCE_MS", 300)
    (found,) = running()
    assert found.status == "missing"
    assert "planted-word" not in f"{found}"
