"""A campaign's page against counts made in Python and `discovery status`; cheap by indexes."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from dashboard_browser import CAMPAIGN, HOSTILE, Browser, Record, links, table, text, walk

from db.connection import Session
from db.events import server_time
from db.owners import owner_name
from db.states import State
from discovery.dashboard.live import Watch
from discovery.dashboard.workforce import workforce
from discovery.reports.status import status


def test_the_list_names_every_campaign(browser: Browser, records: list[Record]) -> None:
    page = browser.open("/")
    assert table(page, "campaigns")[1][:3] == [CAMPAIGN, "running", str(len(records))]
    assert links(page)[CAMPAIGN] == f"/campaign/{CAMPAIGN}"


def test_the_funnel_is_what_the_records_say(browser: Browser, records: list[Record]) -> None:
    page = browser.open(f"/campaign/{CAMPAIGN}")
    rows = {row[0]: row[1:] for row in table(page, "funnel")[1:]}
    summary = status(CAMPAIGN)
    for state in State:
        ever = sum(any(one["to"] == state for one in record["history"]) for record in records)
        now = sum(record["state"] == state for record in records)
        assert rows[str(state)] == [str(ever), "", f"{100 * ever / 120:.1f} %", str(now)]
        assert (ever, now) == (summary["reached"][state], summary["counts"][state])
    reasons = Counter(
        one["rejection"]["reason"] for one in records if one["state"] == State.REJECTED
    )
    found = {row[0]: int(row[1]) for row in table(page, "rejected-by")[1:]}
    assert found == dict(reasons)


def test_numbers_lead_to_the_candidates_that_they_count(
    browser: Browser, records: list[Record]
) -> None:
    page = browser.open(f"/campaign/{CAMPAIGN}")
    (funnel,) = [one for one in walk(page) if one["props"].get("id") == "funnel"]
    for number, address in links(funnel).items():
        path, _, search = address.partition("?")
        listed = table(browser.open(path, f"?{search}"), "candidates")
        assert len(listed) - 1 == int(number)


def test_foreign_text_stays_text(browser: Browser) -> None:
    page = browser.open(f"/campaign/{CAMPAIGN}")
    assert HOSTILE in text(page)  # as a string of React, which writes it as text
    kinds = {one["type"] for one in walk(page)}
    assert not kinds & {"Script", "Iframe", "Markdown", "DangerouslySetInnerHTML"}
    assert "too long" not in text(page)


def test_only_what_changed_is_sent_again(
    browser: Browser, records: list[Record], database: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = {"now": 0.0}
    watch = Watch()
    watch._shared._clock = lambda: clock["now"]
    monkeypatch.setattr("discovery.dashboard.pages.campaign.WATCH", watch)

    def ask(path: Any, shown: Any) -> Any:
        answer = browser.ask(
            "..live.children...live-shown.data...live-tick.interval..",
            [("live-tick", "n_intervals", 1)],
            [("address", "pathname", path), ("live-shown", "data", shown)],
        )
        assert answer.status_code in (200, 204), answer.text
        return answer.get_json()["response"] if answer.status_code == 200 else {}

    page = browser.open(f"/campaign/{CAMPAIGN}")
    (store,) = [one for one in walk(page) if one["props"].get("id") == "live-shown"]
    shown = store["props"]["data"]
    assert "live" not in ask(f"/campaign/{CAMPAIGN}", shown)
    record = next(one for one in records if one["state"] == "proposed")
    database.database["candidates"].update_one(
        {"_id": record["_id"]}, {"$set": {"state": "failed"}}
    )
    clock["now"] += 60
    answer = ask(f"/campaign/{CAMPAIGN}", shown)
    before = {row[0]: row[4] for row in table(page, "funnel")[1:]}
    after = {row[0]: row[4] for row in table(answer["live"]["children"], "funnel")[1:]}
    assert int(after["failed"]) == int(before["failed"]) + 1
    assert answer["live-shown"]["data"] > shown
    for hostile in ("/", None, {"$gt": ""}, "/campaign/..", "/campaign/two words"):
        assert not ask(hostile, shown)


def test_rates_are_over_the_time_that_was_watched(
    records: list[Record], database: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, start = {"now": 0.0}, server_time()
    watch = Watch()
    watch._shared._clock = lambda: clock["now"]
    times = iter([start, start + timedelta(seconds=5), start + timedelta(minutes=2)])
    monkeypatch.setattr("discovery.dashboard.live.server_time", lambda: next(times))
    assert watch.snapshot(CAMPAIGN).per_minute == {}
    clock["now"] += 60
    assert watch.snapshot(CAMPAIGN).per_minute == {}  # five seconds say nothing
    for number in range(8):
        database.database["candidates"].insert_one(
            {
                **records[0],
                "_id": f"new-{number}",
                "seq": 1000 + number,
                "codes_hash": f"new-{number}",
                "history": [{"to": "proposed", "at": start}],
            }
        )
    clock["now"] += 60
    assert watch.snapshot(CAMPAIGN).per_minute["proposed"] == pytest.approx(4.0)


def test_workers_are_those_who_hold_candidates_or_launches(
    records: list[Record], database: Session
) -> None:
    now, me = server_time(), owner_name()
    candidates = database.database["candidates"]
    waiting = [one["_id"] for one in records if one["state"] == "relaxing"]
    assert len(waiting) > 2
    dead = "/".join([*me.split("/")[:2], "999999999", "1", "00000000"])
    for name, owner in ((waiting[0], me), (waiting[1], me), (waiting[2], dead)):
        lease = {"owner": owner, "expires_at": now + timedelta(minutes=5)}
        candidates.update_one({"_id": name}, {"$set": {"lease": lease}})
    for number, campaign in ((1, CAMPAIGN), (2, "other")):
        database.database["calculations"].insert_one(
            {
                "_id": f"h{number}",
                "fw_id": number,
                "formula": "NaCl",
                "info": {"campaign": campaign},
            }
        )
        history = [{"state": "RUNNING", "created_on": "2026-11-21T10:00:00.5"}]
        database.database["launches"].insert_one(
            {
                "launch_id": number,
                "fw_id": number,
                "state": "RUNNING",
                "fworker": {"name": "node7"},
                "state_history": history,
            }
        )
    queues, workers = workforce(CAMPAIGN, now)
    relax = next(one for one in queues if one.name == "relax")
    assert (relax.waiting, relax.held) == (len(waiting), 3)
    assert relax.oldest_seconds > 0
    found = {one.task: (one.name, one.health) for one in workers}
    assert set(found) == {
        "holds 2 relaxing",
        "holds 1 relaxing",
        "calculates NaCl (Firework 1) since 10:00:00 UTC",
    }
    assert found["holds 2 relaxing"][1] == "runs"
    assert found["holds 1 relaxing"][1] == "died"
    assert found["calculates NaCl (Firework 1) since 10:00:00 UTC"] == (
        "node7",
        "not of this machine",
    )


def test_what_the_timer_asks_is_answered_by_indexes(
    records: list[Record], database: Session
) -> None:
    """However large the campaign, a refresh looks at no candidate that it does not show."""
    profiled = database.database
    profiled.command("profile", 2)
    try:
        Watch().snapshot(CAMPAIGN)
    finally:
        profiled.command("profile", 0)
    asked = list(profiled["system.profile"].find({"ns": f"{profiled.name}.candidates"}))
    profiled["system.profile"].drop()
    assert len(asked) > 20
    assert not [one for one in asked if "COLLSCAN" in one.get("planSummary", "")]
    chosen = sum("selection" in one for one in records)
    looked_at = sum(one.get("docsExamined", 0) for one in asked)
    assert looked_at <= chosen + 2 * len(State)
