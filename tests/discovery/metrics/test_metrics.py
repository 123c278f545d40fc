"""Figures for Prometheus, read by its own parser and compared with the records."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from db import calculations, campaigns, candidates, events
from db.connection import Session
from db.states import State
from discovery.metrics.routes import make_application, routes

Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


def figures(client: TestClient, path: str = "/metrics") -> Figures:
    """Ask for the figures: (name, labels) to value."""
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def figure(found: Figures, name: str, **labels: str) -> float:
    return found[f"discovery_{name}", frozenset(labels.items())]


@pytest.fixture
def client(database: Session) -> TestClient:
    return TestClient(make_application())


def proposals(count: int) -> list[dict[str, Any]]:
    return [
        {"generator_version": "g", "codes_hash": f"h{number}", "codes": {"crystal": [1]}}
        for number in range(count)
    ]


def calculation(seconds: float) -> None:
    spec = {
        "hash": "a" * 64,
        "kind": "compound",
        "code": "gpaw",
        "version": "1",
        "settings": {},
        "structure": {},
        "formula": "NaCl",
        "estimated_core_seconds": 50.0,
        "info": {"campaign": "one"},
    }
    calculations.claim(spec)
    attempts = [{"campaign": "one", "core_seconds": seconds}]
    calculations.advance("a" * 64, "submitting", "submitted", attempts=attempts)


def test_figures_are_those_of_the_records(client: TestClient) -> None:
    resolved = {"generator": {"head": "head-7"}}
    campaigns.create("one", config={}, seed=0, resolved=resolved)
    ids = candidates.insert_proposals("one", proposals(5))
    for name in ids[:2]:
        candidates.transition(
            name, source=State.PROPOSED, to=State.EVALUATED, token=0, agent="test"
        )
    with pytest.raises(candidates.StaleLease):
        candidates.transition(
            ids[0], source=State.PROPOSED, to=State.EVALUATED, token=0, agent="test"
        )
    calculation(seconds=120.0)
    token = campaigns.lead("one", "host/x", 60)
    for _ in range(2):
        campaigns.add_figures("one", token=token, ticks=3, tick_seconds=0.5, leases_taken_back=1)
    time.sleep(0.05)
    found = figures(client)
    assert figure(found, "candidates", campaign="one", state="proposed") == 3
    assert figure(found, "candidates", campaign="one", state="evaluated") == 2
    reached = "candidates_reached_total"
    assert figure(found, reached, campaign="one", state="proposed") == 5
    assert figure(found, reached, campaign="one", state="evaluated") == 2
    assert figure(found, "events_total", campaign="one", kind="stale_write_refused") == 1
    assert figure(found, "dft_core_seconds_total", campaign="one") == 120
    assert figure(found, "dft_core_seconds_in_flight", campaign="one") == 50
    assert figure(found, "calculations", state="submitted") == 1
    assert figure(found, "loop_ticks_total", campaign="one") == 6
    assert figure(found, "loop_tick_seconds_total", campaign="one") == 1.0
    assert figure(found, "leases_taken_back_total", campaign="one") == 2
    assert figure(found, "campaign_state", campaign="one", state="running") == 1
    assert figure(found, "campaign_state", campaign="one", state="complete") == 0
    assert 50 < figure(found, "leader_seconds_left", campaign="one") <= 60
    assert 0 < figure(found, "leader_age_seconds", campaign="one") < 60
    assert 0 < figure(found, "queue_oldest_seconds", campaign="one", queue="evaluate") < 60
    assert figure(found, "queue_oldest_seconds", campaign="one", queue="relax") == 0
    assert figure(found, "model_info", campaign="one", version="head-7") == 1


def test_labels_do_not_grow_with_the_candidates(client: TestClient) -> None:
    campaigns.create("one", config={}, seed=0)
    candidates.insert_proposals("one", proposals(1))
    before = set(figures(client))
    candidates.insert_proposals("one", proposals(300))
    for number in range(40):
        events.record("one", f"kind-{number}")
    assert set(figures(client)) == before
    assert len(before) < 60


def test_every_count_is_answered_by_an_index(client: TestClient, database: Session) -> None:
    campaigns.create("one", config={}, seed=0)
    candidates.insert_proposals("one", proposals(3))
    mongo = database.database
    mongo.command("profile", 2)
    try:
        figures(client)
    finally:
        mongo.command("profile", 0)
    seen = list(mongo["system.profile"].find({"ns": {"$regex": r"\.(candidates|calculations)$"}}))
    mongo["system.profile"].drop()
    assert seen
    assert not [one["command"] for one in seen if "COLLSCAN" in one.get("planSummary", "")]


def test_health_says_what_is_wrong(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.get("/health").json() == {"status": "ok", "running": 0, "problems": []}
    campaigns.create("one", config={}, seed=0)
    answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.json()["status"] == "degraded"
    assert "discovery repair one" in answer.json()["problems"][0]
    campaigns.lead("one", "host/x", 60)
    assert client.get("/health").json()["status"] == "ok"

    def lost() -> Any:
        from pymongo.errors import ServerSelectionTimeoutError

        raise ServerSelectionTimeoutError("mongodb://ann:secret@host")

    monkeypatch.setattr("discovery.metrics.routes.current_database", lost)
    monkeypatch.setattr("discovery.metrics.collector.server_time", lost)
    for path in ("/health", "/metrics"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert "does not answer" in answer.text
        assert "secret" not in answer.text


def test_the_routes_can_be_mounted_elsewhere(database: Session) -> None:
    campaigns.create("one", config={}, seed=0)
    app = Starlette(routes=[Mount("/watch", routes=routes())])
    client = TestClient(app)
    assert client.get("/watch/health").status_code == 200
    assert client.get("/health").status_code == 404
    assert figures(client, "/watch/metrics")
    assert client.post("/watch/metrics").status_code == 405


def test_reading_changes_nothing(client: TestClient, database: Session) -> None:
    campaigns.create("one", config={}, seed=0)
    candidates.insert_proposals("one", proposals(2))
    names = ("campaigns", "candidates", "events")

    def look() -> list[Any]:
        return [list(database.database[name].find()) for name in names]

    before = look()
    figures(client)
    client.get("/health")
    assert look() == before


def test_names_are_prometheus_names(client: TestClient) -> None:
    campaigns.create("one", config={}, seed=0)
    for name, _ in figures(client):
        assert re.fullmatch(r"discovery_[a-z_]+", name)


def test_a_running_campaign_without_a_leader_is_seen(client: TestClient) -> None:
    campaigns.create("one", config={}, seed=0)
    assert figure(figures(client), "leader_seconds_left", campaign="one") == 0
    campaigns.set_state("one", "stopped")
    labels = frozenset({"campaign": "one"}.items())
    assert ("discovery_leader_seconds_left", labels) not in figures(client)
