"""The dashboard of a finished campaign, served as a person serves it, in a real browser."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chromium import Window, open_browser
from playwright.sync_api import BrowserContext
from workplace import Workplace

#: Where pictures of every window go; those of failed tests are kept in any case.
PICTURES = "DISCOVERY_TEST_PICTURES"
ADDRESS = re.compile(r"http://\S+:\d+")


@pytest.fixture(scope="module")
def address(finished: Workplace) -> Iterator[str]:
    """Where the dashboard of the finished campaign is."""
    log = finished.folder / "serve.log"
    log.unlink(missing_ok=True)
    process = finished.start("serve", "--port", "0", log=log.name)
    try:
        for _ in range(600):
            found = ADDRESS.search(log.read_text())
            if found:
                break
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        else:
            pytest.fail(f"the dashboard did not start: {log.read_text()}")
        yield found.group(0)
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def chromium() -> Iterator[BrowserContext]:
    """A browser; its windows share what they have read and compiled, as a person's do."""
    with open_browser() as browser:
        yield browser.new_context(viewport={"width": 1280, "height": 900})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Tell fixtures whether their test failed."""
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


FAILED = pytest.StashKey[bool]()


@pytest.fixture
def window(
    chromium: BrowserContext, address: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Window]:
    """A window of a desktop's width; what it shows when its test fails is kept."""
    page = chromium.new_page()
    page.set_default_timeout(60_000)
    opened = Window(page, address)
    yield opened
    if request.node.stash.get(FAILED, True):
        kept = tmp_path / "failed.png"
        opened.picture(kept)
        print(f"what it looked like: {kept}; faults: {opened.faults}")
    page.close()


@pytest.fixture
def keep(window: Window, tmp_path: Path) -> Callable[[str], Path]:
    """Keeps pictures of the window by names."""
    folder = Path(os.environ.get(PICTURES) or tmp_path)

    def picture(name: str) -> Path:
        path = folder / f"{name}.png"
        window.picture(path)
        return path

    return picture
