"""A dashboard over synthetic records."""

from __future__ import annotations

import random

import pytest
from dashboard_browser import CAMPAIGN, HOSTILE, Browser, Record, stored_candidate

from db import campaigns, events
from db.connection import Session
from discovery.dashboard.application import make_dashboard
from discovery.dashboard.live import Watch


@pytest.fixture
def records(database: Session) -> list[Record]:
    """120 candidates of a campaign that runs, with a learning event."""
    source = random.Random(3)
    made = [stored_candidate(number, source) for number in range(120)]
    targets = [{"property": "band_gap", "min": 0.5, "max": 2.5}]
    config = {"description": HOSTILE, "targets": targets, "verify": {"backend": "gpaw"}}
    resolved = {
        "generator": {"name": "perov5", "version": "g", "head": "h0"},
        "potential": {"name": "chgnet", "level": "chgnet-0.3.0"},
        "screens": [],
    }
    campaigns.create(CAMPAIGN, config=config, seed=4, resolved=resolved)
    database.database["candidates"].insert_many(made)
    learned = {"version": "v1", "decision": "promoted", "reason": HOSTILE, "seen": {"dft": 3}}
    events.record(CAMPAIGN, "learning", agent="test", data=learned)
    return made


@pytest.fixture
def browser(records: list[Record], monkeypatch: pytest.MonkeyPatch) -> Browser:
    """A browser in front of the dashboard of these records."""
    monkeypatch.setattr("discovery.dashboard.pages.campaign.WATCH", Watch())
    return Browser(make_dashboard())
