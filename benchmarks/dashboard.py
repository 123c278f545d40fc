"""How long the dashboard's pages take in a real browser, with 100,000 candidates.

    python benchmarks/dashboard.py fill --home /tmp/dashboard-benchmark
    python benchmarks/dashboard.py measure --home /tmp/dashboard-benchmark --out dashboard.json

`fill` writes the synthetic campaign of `benchmarks/load.py` (every state of the funnel, verified
candidates with their calculations). `measure` starts `discovery serve` as a user does and opens
every page in a headless Chromium: from the request to the moment that the page's own content is
there and two frames were drawn after it. Beside the time on the wall it gives processor time, of
the server, of MongoDB and of all the browser's processes, which says the same on a machine that is
busy with other things. `fresh` is a browser that never saw a page of the server before (every
script is read and compiled), `link` one that is on another page and follows a link.

`idle` leaves a page of the campaign open and gives what its timer costs.
"""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import load_records
import psutil
import typer
from load_records import CAMPAIGN

from db import campaigns
from db.connection import connect, current_database, ensure_indexes

CHROMIUM = "/usr/bin/chromium"
#: What a page is, its address, and the element that is there when it is complete.
PAGES = {
    "campaigns": ("/", "#campaigns"),
    "campaign": (f"/campaign/{CAMPAIGN}", "#settings"),
    "candidates": (f"/campaign/{CAMPAIGN}/candidates", "#candidates"),
    "candidates, page 1,500": (f"/campaign/{CAMPAIGN}/candidates?page=1500", "#candidates"),
    "filter by an index": (
        f"/campaign/{CAMPAIGN}/candidates?where=band_gap%20%3E%3D%200.5&sort=-band_gap",
        "#candidates",
    ),
    "filter without an index": (
        f"/campaign/{CAMPAIGN}/candidates?where=natoms%20%3E%2019&sort=natoms",
        "#candidates",
    ),
}
FRAMES = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"

app = typer.Typer(help=__doc__)
Home = Annotated[Path, typer.Option(help="Folder of the embedded database.")]
Out = Annotated[Path | None, typer.Option(help="File for the numbers, JSON.")]


@dataclass(frozen=True)
class Load:
    """One page in one way.

    Attributes:
        page: Which.
        way: ``fresh`` or ``link``.
        wall_ms: Until its content was drawn, median.
        slowest_ms: The slowest.
        server_ms: Processor time of the server, median.
        database_ms: Of MongoDB.
        browser_ms: Of the browser's processes.
    """

    page: str
    way: str
    wall_ms: float
    slowest_ms: float
    server_ms: float
    database_ms: float
    browser_ms: float


class Meter:
    """Processor time of server, database and browser."""

    def __init__(self, server: int) -> None:
        self._server = psutil.Process(server)

    def read(self) -> tuple[float, float, float]:
        """Return seconds used so far."""
        used = current_database().command("serverStatus")["extra_info"]
        database = (used["user_time_us"] + used["system_time_us"]) / 1e6
        own = psutil.Process()
        browser = sum(
            _seconds(one)
            for one in own.children(recursive=True)
            if one.is_running() and "chrom" in _name(one)
        )
        return _seconds(self._server), database, browser


def _seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return ""


@app.command()
def fill(home: Home, n: int = 100_000) -> None:
    """Write so many synthetic candidates."""
    with connect(home=home) as session:
        config = load_records.config().record()
        resolved = {"generator": {"name": "perov5", "head": "da4282efcfa4"}, "screens": []}
        campaigns.create(CAMPAIGN, config=config, seed=1, resolved=resolved)
        load_records.without_indexes()
        load_records.fill(0, n, 1000)
        ensure_indexes()
        stats = session.database.command("collStats", "candidates")
        print(f"{stats['count']} candidates of {stats['avgObjSize'] / 1e3:.1f} kB")


@app.command()
def measure(home: Home, repeat: int = 5, out: Out = None) -> None:
    """Open every page."""
    with connect(home=home, create=False), _served(home) as (address, server):
        found = list(_measured(address, Meter(server), repeat))
    for one in found:
        print(
            f"{one.page:26} {one.way:6} wall {one.wall_ms:6.0f} (slowest {one.slowest_ms:6.0f})  "
            f"cpu: server {one.server_ms:5.0f}  database {one.database_ms:5.0f}  "
            f"browser {one.browser_ms:6.0f} ms"
        )
    if out is not None:
        out.write_text(json.dumps([asdict(one) for one in found], indent=2))


@app.command()
def idle(home: Home, seconds: float = 60.0) -> None:
    """Leave a campaign's page open."""
    with connect(home=home, create=False), _served(home) as (address, server), _browser() as chrome:
        meter, page = Meter(server), chrome.new_page()
        path, mark = PAGES["campaign"]
        page.goto(address + path)
        page.wait_for_selector(mark)
        page.wait_for_timeout(3000)
        before, started = meter.read(), time.monotonic()
        page.wait_for_timeout(1000 * seconds)
        lasted = time.monotonic() - started
        shares = [(b - a) / lasted for a, b in zip(before, meter.read())]
        print(
            f"{lasted:.0f} s open: of one processor the server takes {shares[0]:.2%}, "
            f"the database {shares[1]:.2%}, the browser {shares[2]:.2%}"
        )


def _measured(address: str, meter: Meter, repeat: int) -> Iterator[Load]:
    with _browser() as chrome:
        for name, (path, mark) in PAGES.items():
            runs = [_fresh(chrome, meter, address + path, mark) for _ in range(repeat)]
            yield _load(name, "fresh", runs)
        context = chrome.new_context()
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector("h1")
        for name, (path, mark) in PAGES.items():
            runs = [_linked(page, meter, path, mark) for _ in range(repeat)]
            yield _load(name, "link", runs)


def _load(name: str, way: str, runs: list[list[float]]) -> Load:
    wall, *parts = zip(*runs, strict=True)
    medians = [1e3 * statistics.median(one) for one in (wall, *parts)]
    return Load(name, way, medians[0], 1e3 * max(wall), *medians[1:])


def _fresh(chrome: Any, meter: Meter, url: str, mark: str) -> list[float]:
    with chrome.new_context() as context:
        page = context.new_page()
        before, started = meter.read(), time.perf_counter()
        page.goto(url)
        page.wait_for_selector(mark)
        page.evaluate(FRAMES)
        wall = time.perf_counter() - started
        return [wall, *(b - a for a, b in zip(before, meter.read(), strict=True))]


def _linked(page: Any, meter: Meter, path: str, mark: str) -> list[float]:
    """Go to a page that has no table, then, as a link does, to the one that is measured."""
    follow = "history.pushState({}, '', path); dispatchEvent(new Event('_dashprivate_pushstate'))"
    go = f"path => {{ {follow} }}"
    page.evaluate(go, "/nothing")
    page.wait_for_selector("text=No such page")
    before, started = meter.read(), time.perf_counter()
    page.evaluate(go, path)
    page.wait_for_selector(mark)
    page.evaluate(FRAMES)
    wall = time.perf_counter() - started
    return [wall, *(b - a for a, b in zip(before, meter.read(), strict=True))]


@contextmanager
def _browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium's sandbox needs a user that is not root.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        chrome = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            yield chrome
        finally:
            chrome.close()


@contextmanager
def _served(home: Path) -> Iterator[tuple[str, int]]:
    """Start the dashboard in a process of its own; give its address and number."""
    command = [sys.executable, "-m", "discovery", "serve", "--port", "0"]
    environment = {**os.environ, "DISCOVERY_HOME": str(home)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"http://\S+:\d+", line):
                break
        else:
            raise RuntimeError(f"the server ended with {process.wait()}")
        try:
            yield found.group(), process.pid
        finally:
            process.send_signal(signal.SIGINT)


if __name__ == "__main__":
    app()
