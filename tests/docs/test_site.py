"""The pages as a site: it builds strictly, and loads nothing from elsewhere."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from chromium import Window, open_browser
from documents import REPOSITORY

#: Attributes by which a page makes the browser load something; a link of a sentence does not.
LOADS = {"src", "srcset", "data", "poster"}


def build(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run MkDocs in the repository."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    built = build(["--site-dir", str(folder)])
    assert built.returncode == 0, built.stderr
    return folder


class _Loaded(HTMLParser):
    """Collects what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.found += [value for name, value in attrs if name in LOADS and value]
        if tag == "link" and values.get("rel") not in ("canonical", "next", "prev"):
            self.found.append(values.get("href") or "")


def loaded(page: Path) -> list[str]:
    """Return the addresses that a page loads."""
    parser = _Loaded()
    parser.feed(page.read_text())
    return parser.found


def test_every_page_is_there(site: Path) -> None:
    pages = [path.relative_to(REPOSITORY / "docs") for path in (REPOSITORY / "docs").rglob("*.md")]
    assert len(pages) > 30
    assert [page for page in pages if not (site / page.with_suffix(".html")).is_file()] == []


def test_the_menu_names_each_page_once() -> None:
    settings = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())
    named = re.findall(r"'([\w./-]+\.md)'", str(settings["nav"]))
    assert len(named) > 40
    assert sorted(named) == sorted(set(named))


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    outside = [one for page in pages for one in loaded(page) if re.match(r"(\w+:)?//", one)]
    sheets = [path.read_text() for path in site.rglob("*.css")]
    outside += [one for text in sheets for one in re.findall(r"url\([\"']?(https?://[^)]*)", text)]
    assert len(pages) > 30
    assert outside == []


def test_the_reference_has_every_public_name(site: Path) -> None:
    text = " ".join(path.read_text() for path in (site / "api").glob("*.html"))
    for name in (
        "discovery.connect",
        "discovery.export.frames.Records.hits",
        "model.generator.Generator.decode",
        "agents.relax.batch.relax_many",
        "agents.relax.potential.Potential.evaluate",
        "agents.verify.backend.DFTBackend.estimate_core_seconds",
        "agents.propose.proposer.Proposer.ask",
        "agents.screen.screen.Screen.predict",
    ):
        assert f'id="{name}"' in text, name


def test_settings_are_told_with_their_limits(site: Path) -> None:
    text = (site / "campaign-file.html").read_text()
    assert "<!-- settings" not in text
    row = re.search(r"<tr>\s*<td><code>relax\.fmax</code>.*?</tr>", text, re.S)
    assert row is not None
    assert "number &gt; 0" in row[0]
    assert "<code>0.03</code>" in row[0]
    assert "eV/Å" in row[0]


def test_a_broken_page_is_an_error(tmp_path: Path) -> None:
    broken = "# Title\n\n[a](nowhere.md), [b](other.md#no-such-heading), [c](../nothing.yaml)\n"
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(broken)
    (tmp_path / "docs" / "other.md").write_text("# Other\n")
    settings = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())
    kept = {key: settings[key] for key in ("site_name", "markdown_extensions", "validation")}
    hooks = [str(REPOSITORY / hook) for hook in settings["hooks"]]
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump({**kept, "hooks": hooks}))
    built = build(["--config-file", str(tmp_path / "mkdocs.yml")])
    assert built.returncode != 0
    for told in ("nowhere.md", "no-such-heading", "nothing.yaml"):
        assert told in built.stderr


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """The site, served on a free port of this machine."""
    handler = functools.partial(_Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_browser_reads_and_searches_it_without_the_network(address: str) -> None:
    with open_browser() as browser:
        window = Window(browser.new_page(viewport={"width": 1300, "height": 900}), address)
        window.open("/search.html")
        window.page.fill(".md-search__input", "silhouette")
        result = ".md-search-result__link[href*=generator]"
        window.page.wait_for_selector(result, state="attached")
        for name in ("index.html", "campaign-file.html"):
            window.open(f"/{name}")
            assert window.unfit() == [], name
        window.page.set_viewport_size({"width": 375, "height": 800})
        for name in ("index.html", "search.html", "campaign-file.html", "api/stages.html"):
            window.open(f"/{name}")
            assert window.overflow() <= 0, f"{name} scrolls sideways on a telephone"
        assert window.foreign == []
        assert window.faults == []
