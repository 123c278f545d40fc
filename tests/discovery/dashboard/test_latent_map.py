"""The latent map: the figures' own numbers, every verified candidate, not too many points."""

from __future__ import annotations

import re
import threading

import numpy as np
import pandas
import pytest
from dashboard_browser import Browser
from dashboard_browser import text as written

from discovery.dashboard.latent_map import HIT, MISS, MOST, NOT_VERIFIED, LatentMap, draw_map
from discovery.dashboard.latent_map import _drawn as drawn
from discovery.dashboard.pages import latent_map
from discovery.dashboard.shared import Shared
from discovery.figures.figure import NothingToShow


def points(n: int) -> pandas.DataFrame:
    """Points of one kind; every thousandth was chosen for DFT."""
    source = np.random.default_rng(1)
    outcomes = [
        (HIT if i % 2000 == 7 else MISS) if i % 1000 == 7 else NOT_VERIFIED for i in range(n)
    ]
    return pandas.DataFrame(
        {
            "id": [f"one-{i:06d}" for i in range(n)],
            "codes": "proposed",
            "pc1": source.normal(size=n),
            "pc2": source.normal(size=n),
            "formation_energy_eV_per_atom": source.normal(size=n),
            "formula": "GaN",
            "state": "screened",
            "outcome": outcomes,
            "position": [1.0 if i % 1000 == 7 else np.nan for i in range(n)],
        }
    )


def made(n: int) -> LatentMap:
    totals = {"proposed": n, "relaxed": 0}
    return LatentMap(drawn(points(n)), totals, ("first", "second"), "chgnet-0.3.0", "perov5 g")


def test_of_many_points_some_are_drawn_and_every_verified_one() -> None:
    all_of_them = points(100_000)
    kept = drawn(all_of_them)
    assert MOST <= len(kept) <= MOST + 100
    chosen = set(all_of_them["id"][all_of_them["position"].notna()])
    assert chosen <= set(kept["id"])
    # evenly: of every tenth of the campaign about as many
    tenths = np.histogram([int(one[4:]) for one in kept["id"]], bins=10)[0]
    assert tenths.min() > 0.9 * MOST / 10
    assert drawn(all_of_them[:50]).equals(all_of_them[:50])


def test_every_point_knows_its_candidate_and_its_outcome() -> None:
    found = made(3000)
    figure = draw_map(found, "proposed")
    shown = {
        one: (x, y)
        for trace in figure.data
        if trace.customdata is not None
        for one, x, y in zip(trace.customdata, trace.x, trace.y, strict=True)
    }
    stored = found.points.set_index("id")
    assert set(shown) == set(stored.index)
    for one, place in shown.items():
        assert place == tuple(stored.loc[one, ["pc1", "pc2"]])
    markers = {
        trace.name.partition(":")[0]: trace.marker.symbol for trace in figure.data if trace.name
    }
    assert markers == {NOT_VERIFIED: "circle", MISS: "diamond", HIT: "star"}
    assert figure.layout.coloraxis.colorbar.title.text == "formation energy (eV/atom)"


@pytest.fixture
def opened(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> Browser:
    """A dashboard whose campaign has 5,000 points."""
    monkeypatch.setattr(latent_map, "READ", Shared(lambda name: made(5000)))
    return browser


def part(browser: Browser, **about: object) -> str:
    asked = {"campaign": "one", "codes": "proposed", "page": 1, **about}
    answer = browser.ask("map-part.children", [("map-part-about", "data", asked)])
    assert answer.status_code == 200
    return written(answer.json["response"]["map-part"]["children"])


def test_the_table_has_all_points_page_by_page(opened: Browser) -> None:
    ordered = list(made(5000).points.sort_values("formation_energy_eV_per_atom")["id"])
    pages = -(-len(ordered) // latent_map.ROWS)
    for page in (1, 2, pages):
        said = part(opened, page=page)
        found = re.findall(r"one-\d{6}", said)
        assert found == ordered[latent_map.ROWS * (page - 1) : latent_map.ROWS * page]
        assert ("Next page" in said) == (page < pages)
    assert f"of {5000:,}, evenly drawn" in part(opened)
    assert f"page {pages} of {pages}" in part(opened, page=10**9)


def test_what_is_not_there_is_said(opened: Browser) -> None:
    assert "no codes of relaxed crystals with an energy yet" in part(opened, codes="relaxed")
    for query in ("?codes=other", "?page=0", "?page=x", "?more=1"):
        assert "No such page" in written(opened.open("/campaign/one/map", query))


def test_what_a_campaign_lacks_is_said(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []

    def lacking(name: str) -> LatentMap:
        reads.append(name)
        raise NothingToShow(f"{name} has no codes")

    monkeypatch.setattr(latent_map, "read_map", lacking)
    monkeypatch.setattr(latent_map, "READ", Shared(latent_map.map_or_reason))
    for _ in range(2):
        assert part(browser) == "There is no map yet: one has no codes."
    assert reads == ["one"]  # that too is kept


def test_a_map_that_is_being_read_is_said(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slow(name: str) -> LatentMap:
        began.set()
        assert go_on.wait(20)
        return made(10)

    shared = Shared(slow, patience=0.01)
    monkeypatch.setattr(latent_map, "READ", shared)
    reader = threading.Thread(target=shared.get, args=("one",))
    reader.start()
    assert began.wait(20)
    said = part(browser)
    go_on.set()
    reader.join(20)
    assert said == "There is no map yet: it is being read: look again in a moment."


def test_a_campaign_that_cannot_be_read_says_why(browser: Browser) -> None:
    assert part(browser).startswith("Not possible: ")  # its settings here are no campaign's
