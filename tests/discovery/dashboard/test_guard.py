"""What a browser may ask, and that nothing it asks writes into the database."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dash import Dash, Input, Output
from dashboard_browser import CAMPAIGN, Browser, Record, text

from db.connection import Session
from discovery.dashboard.application import make_dashboard
from discovery.dashboard.guard import MOST_BYTES, QUESTION
from discovery.dashboard.page import Page

OUTPUT = "..page.children...page-title.data.."
INPUTS = [
    {"id": "address", "property": "pathname", "value": "/"},
    {"id": "address", "property": "search", "value": ""},
]
GOOD = {
    "output": OUTPUT,
    "outputs": [
        {"id": "page", "property": "children"},
        {"id": "page-title", "property": "data"},
    ],
    "inputs": INPUTS,
    "changedPropIds": ["address.pathname"],
}
BAD: list[Any] = [
    [],
    "text",
    7,
    {},
    {**GOOD, "output": None},
    {**GOOD, "output": {"$ne": 1}},
    {**GOOD, "output": "page.children"},
    {**GOOD, "output": "__import__('os').system"},
    {**GOOD, "inputs": []},
    {**GOOD, "inputs": "address"},
    {**GOOD, "inputs": [None, None]},
    {**GOOD, "inputs": INPUTS[::-1]},
    {**GOOD, "inputs": [*INPUTS, INPUTS[0]]},
    {**GOOD, "inputs": [{**INPUTS[0], "id": {"index": "ALL"}}, INPUTS[1]]},
    {**GOOD, "inputs": [[INPUTS[0]], INPUTS[1]]},
    {**GOOD, "state": [{"id": "a", "property": "b", "value": 1}]},
    {**GOOD, "outputs": [{"id": "page", "property": "style"}]},
    {**GOOD, "outputs": None},
    {**GOOD, "changedPropIds": {"a": 1}},
    {**GOOD, "changedPropIds": ["nothing.nowhere"]},
]


def test_a_good_question_is_answered(browser: Browser) -> None:
    assert browser.client.post(QUESTION, json=GOOD).status_code == 200


@pytest.mark.parametrize("body", BAD, ids=[str(number) for number in range(len(BAD))])
def test_a_bad_question_gets_a_sentence(
    body: Any, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    answer = browser.client.post(QUESTION, json=body)
    assert answer.status_code == 400
    assert len(answer.text.splitlines()) == 1
    assert "Traceback" not in answer.text + caplog.text


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (json.dumps(GOOD).encode(), "text/plain", 415),  # what a form of another site can send
        (b" " * (MOST_BYTES + 1), "application/json", 413),
        (b"[" * 20_000, "application/json", 400),
    ],
)
def test_what_is_no_json_is_refused(
    content: bytes, kind: str, status: int, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    answer = browser.client.post(QUESTION, data=content, content_type=kind)
    assert answer.status_code == status
    assert "Traceback" not in answer.text + caplog.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    "path", ["/", f"/campaign/{CAMPAIGN}", "/_dash-layout", "/assets/style.css"]
)
def test_there_is_nothing_to_write_to(method: str, path: str, browser: Browser) -> None:
    assert browser.client.open(path, method=method, json={}).status_code == 405


def test_files_of_the_machine_are_not_served(browser: Browser) -> None:
    for path in (
        "/assets/../application.py",
        "/assets/%2e%2e/application.py",
        "/_dash-component-suites/dash/../../../etc/passwd",
        "/_dash-component-suites/os/path.py",
        "/_dash-component-suites/discovery.dashboard/application.py",
    ):
        answer = browser.client.get(path)
        shown = answer.text
        assert "make_dashboard" not in shown, path
        assert "root:" not in shown, path


def test_a_fault_of_the_program_is_one_sentence_and_a_log(
    browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(app: Dash) -> None:
        @app.callback(Output("x", "children"), Input("y", "value"))
        def callback(value: Any) -> Any:
            raise KeyError("/home/secret")

    page = Page("/", title=lambda _: "t", layout=lambda _: [], callbacks=break_down)
    answer = Browser(make_dashboard([page])).ask("x.children", [("y", "value", 1)])
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" in caplog.text


def test_a_fault_of_a_page_is_said_on_it(
    records: list[Record], caplog: pytest.LogCaptureFixture
) -> None:
    page = Page("/", title=lambda _: "t", layout=lambda _: [{}["/home/secret"]])
    shown = text(Browser(make_dashboard([page])).open("/"))
    assert "this page has a fault (KeyError)" in shown
    assert "secret" not in shown
    assert "/home/secret" in caplog.text  # with the place in the program
    assert "test_guard.py" in caplog.text


def test_nothing_that_is_asked_writes(
    browser: Browser, records: list[Record], database: Session
) -> None:
    """Seen by MongoDB's own profiler: every command of every page, good and bad, only reads."""
    watched = database.database
    before = {name: watched[name].count_documents({}) for name in watched.list_collection_names()}
    watched.command("profile", 2)
    try:
        for path, search in (
            ("/", ""),
            (f"/campaign/{CAMPAIGN}", ""),
            (f"/campaign/{CAMPAIGN}/candidates", "?sort=-band_gap&page=2"),
            (f"/campaign/{CAMPAIGN}/candidates", "?where=natoms%20%3E%203"),
            (f"/campaign/{CAMPAIGN}/candidates", "?where=%7B%22%24out%22%3A%22x%22%7D"),
            ("/campaign/none", ""),
        ):
            browser.open(path, search)
        for body in BAD:
            browser.client.post(QUESTION, json=body)
    finally:
        watched.command("profile", 0)
    seen = list(watched["system.profile"].find({}))
    watched["system.profile"].drop()
    reading = {"find", "aggregate", "count", "distinct", "hello", "ping", "getMore", "profile"}
    reading |= {"listCollections", "listIndexes"}
    names = {next(iter(one["command"])) for one in seen}
    assert len(seen) > 50
    assert names <= reading, names - reading
    assert not {one["op"] for one in seen} & {"insert", "update", "remove"}
    assert not [one for one in seen if "$out" in str(one["command"].get("pipeline"))]
    after = {name: watched[name].count_documents({}) for name in before}
    assert after == before
