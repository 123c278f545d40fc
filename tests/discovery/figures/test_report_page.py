"""The report of a real campaign in a real browser: seen, read, printed, and its numbers checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Window, open_browser
from playwright.sync_api import Browser
from workplace import Workplace

pytestmark = pytest.mark.campaign

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 375, "height": 800}
SIZES = {"wide": WIDE, "phone": PHONE}


@pytest.fixture(scope="module")
def report(finished: Workplace) -> Path:
    """The folder of the report of the finished campaign."""
    folder = finished.folder / "report"
    if not folder.is_dir():
        finished.run("report", "tiny", "--out", str(folder))
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


def opened(browser: Browser, report: Path, size: dict[str, int]) -> Window:
    window = Window(browser.new_page(viewport=size), "file://")
    window.page.goto((report / "report.html").as_uri())
    return window


def rows(window: Window, caption: str) -> list[list[str]]:
    """Read a table as it is shown."""
    table = window.page.locator("table", has_text=caption).first
    return [one.locator("th, td").all_inner_texts() for one in table.locator("tr").all()]


def test_it_is_whole_quiet_accessible_and_fits(browser: Browser, report: Path, tmp_path: Path):
    for name, size in SIZES.items():
        window = opened(browser, report, size)
        window.page.screenshot(path=tmp_path / f"{name}.png")  # for a person to look at
        assert (window.faults, window.foreign) == ([], [])
        assert window.overflow() == 0
        assert window.unfit() == []
        images = window.page.locator("img")
        assert images.count() >= 4
        for number, image in enumerate(images.all()):
            width, height = image.evaluate("i => [i.naturalWidth, i.naturalHeight]")
            shown = image.bounding_box()
            assert shown is not None
            assert shown["width"] / shown["height"] == pytest.approx(width / height, rel=0.02)
            assert len(image.get_attribute("alt") or "") > 40
            image.screenshot(path=tmp_path / f"{name}-{number:02d}.png")


def test_every_figure_is_shown_or_said_to_be_missing(browser: Browser, report: Path):
    from discovery.figures import FIGURES

    window = opened(browser, report, WIDE)
    shown = window.page.locator("figure").count()
    said = window.page.locator("#missing + ul > li").all_inner_texts()
    assert shown + len(said) == len(FIGURES)
    assert all(len(sentence) > 20 for sentence in said)
    assert len(list(report.glob("*.svg"))) == len(list(report.glob("*.csv"))) == shown


def test_its_numbers_are_those_of_query_and_status(
    browser: Browser, report: Path, finished: Workplace
):
    window = opened(browser, report, WIDE)
    status = finished.json("status", "tiny", "--json")
    counted = dict(rows(window, "How far the candidates came")[1:])
    reached = status["reached"]
    names = {"proposed": "proposed", "evaluated": "evaluated", "rules passed": "prescreened"}
    names |= {"relaxed": "relaxed", "screened": "screened", "verified by DFT": "verified"}
    assert {name: counted[name] for name in names} == {
        name: f"{reached.get(state, 0):,}" for name, state in names.items()
    }
    assert counted["hits"] == f"{status['dft']['hits']:,}"
    assert counted["chosen for DFT"] == f"{status['dft']['submitted']:,}"

    found = finished.json("query", "tiny", "--status", "verified", "--format", "json")
    head, *listed = rows(window, "Verified candidates, hits first")
    shown = {one["candidate"]: one for one in (dict(zip(head, row)) for row in listed)}
    assert set(shown) == {one["id"] for one in found}
    for one in found:
        row = shown[one["id"]]
        numbers = one["properties"]
        assert row["formula"] == one["formula"]
        assert row["verdict"] == ("★ hit" if one["verification"]["hit"] else "outside")
        assert row["E_f, DFT, as judged (eV/atom)"] == f"{numbers['formation_energy_per_atom']:.3f}"
        relaxed = one["relaxation"]["formation_energy_per_atom"]
        assert row["E_f, potential (eV/atom)"] == f"{relaxed:.3f}"
        if numbers.get("band_gap") is not None:
            assert row["gap, DFT (eV)"] == f"{numbers['band_gap']:.3f}"


def test_it_prints(browser: Browser, report: Path):
    window = opened(browser, report, WIDE)
    printed = window.page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    window.page.emulate_media(media="print")
    assert not window.page.locator("nav").is_visible()
    assert window.page.locator("figure img").first.is_visible()
