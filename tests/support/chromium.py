"""A real browser: the system's Chromium, without a screen; whatever goes wrong in it is kept."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_core_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Response, sync_playwright

#: Three-dimensional drawing without a graphics card.
ARGUMENTS = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
SERIOUS = ("serious", "critical")


def executable() -> str:
    """Return where Chromium is; where it is not, the test is skipped, in CI a failure."""
    found = next(
        (path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), ""
    )
    if not found:
        reason = "there is no chromium: make browser"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(f"{reason}, and nothing may be skipped with CI=true")
        pytest.skip(reason)
    return found


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start a browser, and end it."""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=executable(), args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Window:
    """One window, and what went wrong in it.

    Attributes:
        page: The window.
        address: Of the server, without a path.
        faults: Errors and warnings of the console, errors of scripts, answers with an error.
        foreign: Requests to anything but the server.
    """

    page: Page
    address: str
    faults: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.on("response", self._answered)

    def _heard(self, message: Any) -> None:
        # Chromium's advice on how plotly reads its canvas is about speed alone.
        if message.type in ("error", "warning") and "willReadFrequently" not in message.text:
            self.faults.append(f"{message.type}: {message.text}")

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        own = f"{parts.scheme}://{parts.netloc}" == self.address
        if not own and parts.scheme not in ("data", "blob"):
            self.foreign.append(url)

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.faults.append(f"{response.status} of {response.url}")

    def open(self, path: str) -> None:
        """Open a path of the server."""
        self.page.goto(self.address + path)

    def unfit(self) -> list[str]:
        """Return what axe finds serious about accessibility, each with the element it is in."""
        found = Axe().run(self.page)
        return [
            f"{one['id']} ({one['impact']}): {node['html'][:200]}"
            for one in found["violations"]
            if one["impact"] in SERIOUS
            for node in one["nodes"]
        ]

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        return int(
            self.page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
        )

    def picture(self, path: Path) -> None:
        """Keep what the whole page looks like."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path, full_page=True)
