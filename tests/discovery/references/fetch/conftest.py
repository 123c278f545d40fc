"""A server with data, a folder for it, and no waiting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import data_server
import pytest
from data_server import DataServer

from discovery.references.fetch.session import PatientSession


@pytest.fixture
def server() -> Iterator[DataServer]:
    with data_server.running() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder."""
    chosen = tmp_path / "data"
    monkeypatch.setenv("DISCOVERY_DATA", str(chosen))
    return chosen


@pytest.fixture(autouse=True)
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that sessions and downloads would have waited."""
    waits: list[float] = []
    monkeypatch.setattr(PatientSession, "pause", staticmethod(waits.append))
    monkeypatch.setattr("agents.download.sleep", waits.append)
    return waits
