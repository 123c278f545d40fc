"""A person looks at a finished campaign: every page, by mouse and by keyboard, wide and narrow."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import Window
from PIL import Image
from playwright.sync_api import Page
from pymatgen.core import Lattice
from workplace import Workplace

pytestmark = pytest.mark.campaign

CAMPAIGN = "tiny"
Record = dict[str, Any]

#: Where every point of the map is in the window, and whose it is.
POINTS = """() => {
  const graph = document.querySelector("#map-graph .js-plotly-plot");
  const layout = graph._fullLayout, box = graph.getBoundingClientRect();
  return graph._fullData.flatMap(trace => Array.from(trace.customdata || [], (id, i) => ({
    id: id,
    x: box.x + layout.xaxis._offset + layout.xaxis.d2p(trace.x[i]),
    y: box.y + layout.yaxis._offset + layout.yaxis.d2p(trace.y[i]),
  })));
}"""
EYES = """() => Array.from(document.querySelectorAll(".crystals .js-plotly-plot"), graph => {
  const eye = graph._fullLayout.scene.camera.eye;
  return [eye.x, eye.y, eye.z];
})"""

FRAMES = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
#: All crystals are seen from one point, and that is not the one they were seen from.
TURNED_TOGETHER = f"""before => {{
  const eyes = ({EYES})();
  const apart = (one, other) => Math.hypot(...one.map((value, i) => value - other[i]));
  return apart(eyes[0], before) > 0.1 && eyes.every(eye => apart(eye, eyes[0]) < 1e-6);
}}"""


@pytest.fixture(scope="module")
def records(finished: Workplace) -> list[Record]:
    """The candidates, as `discovery query` gives them."""
    found: list[Record] = finished.json("query", CAMPAIGN, "--format", "json")
    return found


@pytest.fixture(scope="module")
def duplicate(finished: Workplace, records: list[Record]) -> Record:
    """A candidate that equals another crystal, as `discovery show` gives it."""
    for one in records:
        known = one.get("duplicates") or {}
        if any(known[name]["matches"] for name in ("training", "campaign") if name in known):
            shown: Record = finished.json("show", one["id"], "--json")
            return shown
    pytest.fail("no candidate of the finished campaign equals a known crystal")


@pytest.fixture(scope="module")
def verified(finished: Workplace, records: list[Record]) -> Record:
    """A verified candidate, as `discovery show` gives it."""
    one = next(one for one in records if one["state"] == "verified")
    shown: Record = finished.json("show", one["id"], "--json")
    return shown


def drawn(page: Page, *, crystals: int = 0) -> None:
    """Wait until pictures are drawn and parts that come later have come."""
    page.wait_for_function(
        "n => document.querySelectorAll('.crystals canvas').length >= n "
        "&& !document.querySelector('main .message[role=status]')",
        arg=crystals,
    )
    page.wait_for_timeout(300)


def table(page: Page, name: str) -> list[list[str]]:
    """Return the rows of a table as they are read."""
    page.wait_for_selector(f"#{name} tbody tr")
    rows = page.locator(f"#{name} tbody tr").all()
    return [[cell.inner_text().strip() for cell in row.locator("th, td").all()] for row in rows]


def value(text: str) -> float:
    """Read a number back."""
    return float(text.split(" ±")[0].replace("\N{MINUS SIGN}", "-").replace(",", ""))


def pictured(path: Path) -> int:
    """Count the colours that a picture is made of, the rare ones left out."""
    with Image.open(path) as image:
        counted = image.convert("RGB").getcolors(maxcolors=1 << 24)
    return sum(number > 20 for number, _ in counted)


def test_from_the_map_to_a_candidate_to_its_duplicates_and_back(
    window: Window, duplicate: Record
) -> None:
    page = window.page
    window.open("/")
    page.get_by_role("link", name=CAMPAIGN, exact=True).click()
    page.get_by_role("link", name="Latent map").click()
    page.wait_for_selector("#map-graph .scatterlayer .point")
    points = {one["id"]: one for one in page.evaluate(POINTS)}
    point = points[duplicate["id"]]
    # whoever is drawn at the same place may be the one that opens
    near = {
        one["id"]
        for one in points.values()
        if abs(one["x"] - point["x"]) + abs(one["y"] - point["y"]) < 8
    }
    page.mouse.move(point["x"], point["y"])
    page.wait_for_selector("#map-graph .hovertext")
    page.mouse.click(point["x"], point["y"])
    page.wait_for_url("**/candidate/*")
    assert page.url.rpartition("/")[2] in near
    if page.url.rpartition("/")[2] != duplicate["id"]:
        window.open(f"/candidate/{duplicate['id']}")
    page.get_by_role("link", name="Duplicates side by side").click()
    page.wait_for_url("**/duplicates")
    for place, known in enumerate(duplicate["lineage"]["known"]):
        part = page.locator(f"#match-{place}")
        part.wait_for()
        assert f"{known['rms']:.4f}" in part.inner_text()
        assert known["id"] in part.inner_text()
        apart = [value(row[-1]) for row in table(page, f"match-{place}-atoms")]
        assert apart == pytest.approx(known["distances"], abs=6e-5)
    page.get_by_role("link", name=duplicate["id"]).first.click()
    page.wait_for_selector("#numbers")
    page.go_back()
    page.wait_for_selector("#match-0")
    page.go_back()
    page.wait_for_selector("#numbers")
    page.get_by_role("link", name=CAMPAIGN, exact=True).click()
    page.get_by_role("link", name="Latent map").click()
    page.wait_for_selector("#map-graph .scatterlayer .point")
    assert window.faults == []


def test_numbers_are_those_of_show(window: Window, verified: Record) -> None:
    page = window.page
    window.open(f"/candidate/{verified['id']}")
    rows = table(page, "numbers")
    shown = Counter((row[0], round(value(row[1]), 4), row[3].split()[0]) for row in rows)
    for one in verified["predictions"]:
        assert shown[(one["property"], round(one["value"], 4), one["model"])] > 0, one
    for row in rows:
        sources = {f"{one['model']} {one['version']}" for one in verified["predictions"]}
        sources |= {verified["verification"]["level"], "choice for DFT"}
        assert any(source in " ".join(row[3].split()) for source in sources), row
    by_dft = {row[0]: value(row[1]) for row in rows if row[3].startswith("DFT")}
    for name in ("formation_energy_per_atom", "band_gap", "energy_per_atom"):
        assert by_dft[name] == pytest.approx(verified["verification"][name], abs=6e-5)
    cells = table(page, "cell")
    for column, stored in (
        (1, verified["structure"]),
        (2, verified["relaxation"]["structure"]),
    ):
        assert [value(row[column]) for row in cells[:6]] == pytest.approx(
            Lattice(stored["lattice"]).parameters, abs=6e-5
        )
    page.wait_for_selector("#origin dt >> text=generator")
    written = page.locator("#origin").inner_text()
    assert verified["lineage"]["base"]["formula"] in written
    assert verified["generator_version"] in written
    assert window.faults == []


def test_the_table_is_filtered_as_query_filters(
    window: Window, finished: Workplace, records: list[Record]
) -> None:
    page = window.page
    window.open(f"/campaign/{CAMPAIGN}/candidates")
    assert len(table(page, "candidates")) == min(50, len(records))
    energy = "formation_energy_per_atom_potential"
    where = f"{energy} < 0"
    page.fill("#where", where)
    page.press("#where", "Enter")
    page.wait_for_url("**where=*")
    expected = finished.json("query", CAMPAIGN, "--where", where, "--format", "json")
    assert 0 < len(expected) < len(records)
    page.wait_for_function(
        "n => document.querySelectorAll('#candidates tbody tr').length === n",
        arg=min(50, len(expected)),
    )
    heads = [one.inner_text() for one in page.locator("#candidates thead th").all()]
    (column,) = [place for place, head in enumerate(heads) if energy in head.replace("\u200b", "")]
    shown = {row[0]: value(row[column]) for row in table(page, "candidates")}
    wanted = {one["id"]: one["relaxation"]["formation_energy_per_atom"] for one in expected}
    assert set(shown) <= set(wanted)
    assert all(shown[one] == pytest.approx(wanted[one], abs=6e-4) for one in shown)
    page.fill("#where", "band_gap >=")
    page.press("#where", "Enter")
    page.wait_for_selector("[role=alert]")
    assert "\n" not in page.locator("[role=alert]").inner_text().strip()
    assert window.faults == []


def test_every_page_is_whole_at_any_width(
    window: Window, duplicate: Record, verified: Record, keep: Callable[[str], Path]
) -> None:
    page = window.page
    matched = [one for one in duplicate["lineage"]["known"] if "unknown" not in one]
    pages = {
        "campaigns": ("/", 0),
        "campaign": (f"/campaign/{CAMPAIGN}", 0),
        "candidates": (f"/campaign/{CAMPAIGN}/candidates", 0),
        "map": (f"/campaign/{CAMPAIGN}/map", 0),
        "candidate": (f"/candidate/{verified['id']}", 2),
        "duplicates": (f"/candidate/{duplicate['id']}/duplicates", 2 * len(matched)),
    }
    for name, (path, crystals) in pages.items():
        page.set_viewport_size({"width": 1280, "height": 900})
        window.open(path)
        page.wait_for_selector("main h1")
        drawn(page, crystals=crystals)
        assert window.unfit() == [], name
        for width in (1280, 375):
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(300)
            assert window.overflow() <= 0, f"{name} at {width}"
            whole = keep(f"{name}-{width}")
            shown = page.locator(".picture .dash-graph").all()
            assert len(shown) == crystals + {"map": 1, "candidate": 1}.get(name, 0)
            for place, picture in enumerate(shown):
                part = whole.with_name(f"{name}-{width}-picture-{place}.png")
                picture.screenshot(path=part)
                assert pictured(part) >= 4, f"{part} is empty"
    assert window.faults == []
    assert window.foreign == []


def test_crystals_are_turned_by_keyboard_and_by_hand(window: Window, verified: Record) -> None:
    page = window.page
    window.open(f"/candidate/{verified['id']}")
    drawn(page, crystals=2)
    first = page.evaluate(EYES)
    assert first[0] == pytest.approx(first[1])
    page.get_by_role("button", name="along b").focus()
    page.keyboard.press("Enter")
    page.wait_for_timeout(500)
    along = Lattice(verified["structure"]["lattice"]).matrix[1]
    for eye in page.evaluate(EYES):
        assert eye == pytest.approx(2 * along / (along @ along) ** 0.5, abs=1e-3)
    # taken at an atom, where its symbol stands
    label = page.locator(".crystals .annotation-scene").first.bounding_box()
    assert label is not None
    x, y = label["x"] + label["width"] / 2, label["y"] + label["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    for step in range(6):  # the view follows with the frames that are drawn
        page.mouse.move(x + 10 * step, y + 4 * step)
        page.evaluate(FRAMES)
    page.mouse.up()
    page.wait_for_function(TURNED_TOGETHER, arg=list(2 * along / (along @ along) ** 0.5))
    assert window.faults == []


def focused(page: Page) -> Iterator[str]:
    """Go through what the keyboard reaches: the text of each."""
    for _ in range(80):
        page.keyboard.press("Tab")
        yield page.evaluate("document.activeElement.innerText || ''")


def test_the_map_is_used_by_keyboard_alone(window: Window, records: list[Record]) -> None:
    page = window.page
    window.open(f"/campaign/{CAMPAIGN}/map")
    page.wait_for_selector("#map-points tbody a")
    names = re.compile("|".join(one["id"] for one in records))
    reached = next(text for text in focused(page) if names.fullmatch(text.strip()))
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/candidate/{reached.strip()}")
    page.wait_for_selector("#numbers-part")
    assert page.evaluate("document.activeElement.id") == "heading"
    assert window.faults == []
