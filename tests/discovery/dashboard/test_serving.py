"""What `discovery serve` puts on its port: pages, health, figures, OPTIMADE; for whom and how."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
import requests
from chromium import open_browser
from dashboard_browser import CAMPAIGN, Record
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from typer.testing import CliRunner

from db.connection import Session
from discovery.cli import app as command_line
from discovery.cli.serve import _for_programs
from discovery.dashboard.serving import make_application


@pytest.fixture
def client(records: list[Record]) -> TestClient:
    return TestClient(make_application(), base_url="http://127.0.0.1:5000")


def test_pages_health_and_figures_share_a_port(client: TestClient) -> None:
    page = client.get(f"/campaign/{CAMPAIGN}")
    assert page.status_code == 200
    assert '<html lang="en">' in page.text
    assert client.get("/health").json()["status"] == "degraded"  # it runs, and nobody leads it
    assert f'discovery_candidates{{campaign="{CAMPAIGN}"' in client.get("/metrics").text


@pytest.mark.parametrize("path", ["/", "/health", "/metrics", "/_dash-layout", "/assets/style.css"])
def test_a_name_that_was_bound_to_this_machine_is_refused(path: str, client: TestClient) -> None:
    """DNS rebinding: a page of another site whose name leads to 127.0.0.1 sends its own name."""
    for host in (
        "evil.example",
        "evil.example:5000",
        "127.0.0.1.evil.example",
        "localhost.evil",
        "",
    ):
        assert client.get(path, headers={"host": host}).status_code == 400, host
    for host in ("127.0.0.1:5000", "localhost:5000", "LOCALHOST", "[::1]:5000"):
        assert client.get(path, headers={"host": host}).status_code == 200, host


@pytest.mark.parametrize(
    ("optimade", "metrics"), [(None, True), (FastAPI(), False), (FastAPI(), True)]
)
def test_such_a_name_is_refused_without_the_pages_too(
    optimade: FastAPI | None, metrics: bool, database: Session
) -> None:
    client = TestClient(_for_programs(optimade, metrics, "127.0.0.2"))
    path = "/health" if metrics else "/openapi.json"
    assert client.get(path, headers={"host": "evil.example:5000"}).status_code == 400
    for host in ("127.0.0.1:5000", "localhost:5000", "[::1]:5000", "127.0.0.2:5000"):
        assert client.get(path, headers={"host": host}).status_code == 200, host


@pytest.mark.parametrize("path", ["/", "/health", "/nothing", "/_dash-dependencies"])
def test_every_answer_says_what_a_browser_may_do_with_it(path: str, client: TestClient) -> None:
    given = client.get(path).headers
    policy = dict(
        part.strip().split(" ", 1) for part in given["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in policy["script-src"]
    assert given["x-content-type-options"] == "nosniff"
    assert given["x-frame-options"] == "DENY"
    assert given["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in given


def test_every_script_and_style_is_a_file_of_this_server(client: TestClient) -> None:
    page = client.get("/").text
    files = re.findall(r'<(?:script|link)[^>]+(?:src|href)="([^"]+)"', page)
    assert len(files) > 5
    for one in files:
        assert re.match(r"/(assets|_dash-component-suites)/", one), one
        assert client.get(one).status_code == 200, one


def test_optimade_keeps_its_addresses_beside_the_pages(records: list[Record]) -> None:
    def where(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(request.url))

    optimade = Starlette(routes=[Route("/v1/structures", where), Route("/versions", where)])
    both = TestClient(make_application(optimade=optimade), base_url="http://127.0.0.1:5000")
    address = "http://127.0.0.1:5000/v1/structures?page_limit=3"
    assert both.get("/v1/structures?page_limit=3").text == address
    assert both.get("/versions").status_code == 200
    assert '<html lang="en">' in both.get("/").text
    assert both.get("/health").status_code == 200
    evil = {"host": "evil.example"}
    assert both.get("/v1/structures", headers=evil).status_code == 400


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "is open to others"),
        (["--host", "example.org"], "is open to others"),
        (["--all"], "--all says what --optimade serves"),
        (["--optimade", "--optuna", "http://127.0.0.1:8080"], "add --dashboard"),
        (["--fireworks", "javascript:alert(1)"], "is no address"),
        (["--optuna", "http://["], "is no address"),
    ],
)
def test_what_cannot_be_served_is_refused_at_the_start(options: list[str], said: str) -> None:
    result = CliRunner().invoke(command_line, ["serve", *options])
    assert isinstance(result.exception, ValueError)
    assert said in str(result.exception)
    assert result.exception.exit_code == 2


@pytest.mark.campaign
class TestCommand:
    """`discovery serve` as a user starts it."""

    @pytest.fixture
    def address(self, records: list[Record], mongo_session: Session) -> Iterator[str]:
        options = ["--port", "0", "--db", mongo_session.uri, "--optuna", "http://127.0.0.1:8080/"]
        command = [sys.executable, "-m", "discovery", "serve", *options]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            found = next(
                (one for line in process.stderr if (one := re.search(r"http://\S+:\d+", line))),
                None,
            )
            assert found is not None, "the server ended before it listened"
            yield found.group()
            process.send_signal(signal.SIGINT)
            rest = process.stderr.read()
            assert process.wait(20) == 130  # interrupted
            assert "Traceback" not in rest

    def test_without_options_it_is_the_dashboard(self, address: str) -> None:
        page = requests.get(address, timeout=20)
        assert page.status_code == 200
        layout = str(requests.get(f"{address}/_dash-layout", timeout=20).json())
        assert "http://127.0.0.1:8080/" in layout
        assert requests.get(f"{address}/health", timeout=20).json()["running"] == 1
        body = {"output": "nothing"}
        answer = requests.post(f"{address}/_dash-update-component", json=body, timeout=20)
        assert answer.status_code == 400

    def test_the_funnel_moves_and_the_keyboard_stays(
        self, address: str, records: list[Record], database: Session
    ) -> None:
        """In a real browser: nothing is loaded again, and what has the focus keeps it."""
        with open_browser() as chromium:
            window = chromium.new_page()
            window.set_default_timeout(60_000)
            window.goto(f"{address}/campaign/{CAMPAIGN}")
            window.wait_for_selector("#funnel")
            window.evaluate("window.neverReloaded = true")
            window.focus("#live-pause")
            failed = "#funnel tbody tr:last-child td:last-child"
            before = int(window.inner_text(failed))
            one = next(one for one in records if one["state"] == "proposed")
            database.database["candidates"].update_one(
                {"_id": one["_id"]}, {"$set": {"state": "failed"}}
            )
            window.wait_for_function(
                "([cell, number]) => document.querySelector(cell).innerText === number",
                arg=[failed, str(before + 1)],
            )
            assert window.evaluate("window.neverReloaded")
            assert window.evaluate("document.activeElement.id") == "live-pause"
            window.keyboard.press("Enter")
            window.wait_for_selector("text=Refresh again")
            window.click("nav.siblings >> text=Candidates")
            window.wait_for_selector("#candidates")
            window.wait_for_function("() => document.activeElement.id === 'heading'")
            window.fill("#where", "hit = TRUE")
            window.keyboard.press("Enter")
            hits = sum((one.get("verification") or {}).get("hit") is True for one in records)
            window.wait_for_selector(f"text=of {hits}.")
            assert window.evaluate("document.activeElement.id") in ("where", "rows-status")
            window.go_back()
            window.wait_for_selector("text=of 120.")
            assert window.evaluate("window.neverReloaded")
