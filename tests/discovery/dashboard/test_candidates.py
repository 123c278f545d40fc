"""The table of candidates against `discovery query`, and what it refuses."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest
from dashboard_browser import CAMPAIGN, Browser, Record, links, table, text, walk

from db.selection import select, stream
from discovery.dashboard import markup
from discovery.dashboard.pages import candidates

PATH = f"/campaign/{CAMPAIGN}/candidates"


def opened(browser: Browser, **query: str) -> Any:
    return browser.open(PATH, f"?{urlencode(query)}" if query else "")


def role(page: Any, name: str) -> list[str]:
    return [text(one) for one in walk(page) if one["props"].get("role") == name]


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"sort": "-band_gap"},
        {"where": 'elements HAS "Ga" AND NOT band_gap > 1', "sort": "band_gap_head"},
        {"where": 'state = "verified"', "fields": "band_gap,hit,space_group,elements,created_at"},
    ],
)
def test_pages_hold_what_query_gives(
    query: dict[str, str], browser: Browser, records: list[Record]
) -> None:
    names = query.get("fields", ",".join(candidates.DEFAULT_FIELDS)).split(",")
    expected = list(
        stream(select(CAMPAIGN, where=query.get("where"), sort=query.get("sort"), fields=names))
    )
    assert len(expected) > 3
    found, search = [], dict(query)
    for number in range(1, 10):
        page = opened(browser, **search)
        found += table(page, "candidates")[1:]
        if "Next page" not in links(page):
            break
        search["page"] = str(number + 1)
        assert links(page)["Next page"] == f"{PATH}?{urlencode(search)}".replace("+", "%20")
    assert [row[0] for row in found] == [one["id"] for one in expected]
    for row, one in zip(found, expected, strict=True):
        for shown, name in zip(row[1:], names, strict=True):
            value = one[name]
            if value is None:
                assert shown == markup.NOTHING
            elif isinstance(value, float):
                assert float(shown.replace(markup.MINUS, "-")) == pytest.approx(value, abs=5e-4)
            elif isinstance(value, bool):
                assert shown == ("yes" if value else "no")
            elif isinstance(value, list):
                assert shown == ", ".join(value)
            elif name == "created_at":
                assert shown == f"{value[:10]} {value[11:19]} UTC"
            else:
                assert shown == str(value)


def test_it_says_how_many_there_are(
    browser: Browser, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    def total(path: Any = PATH, search: Any = "") -> Any:
        state = [("address", "pathname", path), ("address", "search", search)]
        return browser.ask("rows-total.children", [("rows-uncounted", "data", True)], state)

    def counted(search: str = "") -> str:
        found: str = total(search=search).get_json()["response"]["rows-total"]["children"]
        return found

    assert role(opened(browser), "status") == ["Candidates 1 to 50 …"]
    assert counted() == " of 120."
    assert role(opened(browser, page="3"), "status") == ["Candidates 101 to 120 of 120."]
    assert role(opened(browser, page="4"), "status") == ["There is no page 4."]
    assert role(opened(browser, where="natoms > 500"), "status") == ["No candidate fits."]
    found = sum(one.get("n_atoms", 0) > 5 for one in records)
    assert counted("?where=natoms%20%3E%205&page=2") == f" of {found}."
    monkeypatch.setattr(candidates, "MOST_COUNTED", 60)
    assert counted() == " of more than 60."
    for path, search in (("/", ""), (PATH, "?where=("), (None, ""), (PATH, {"$gt": 1})):
        assert total(path, search).status_code == 400
    monkeypatch.setattr(candidates, "COUNT_SECONDS", 1e-6)
    assert counted().endswith("was given up.")
    monkeypatch.setattr(candidates, "READ_SECONDS", 1e-6)
    (said,) = role(opened(browser), "alert")
    assert "longer than 1e-06 s" in said


def test_heads_sort_and_say_so(browser: Browser) -> None:
    def head(page: Any) -> tuple[Any, str]:
        (shown,) = [one for one in walk(page) if one["props"].get("id") == "candidates"]
        heads = [one for one in walk(shown) if one["type"] == "Th"]
        (cell,) = [one for one in heads if text(one).startswith("band_gap")]
        ((_, address),) = links(cell).items()
        return cell["props"].get("aria-sort"), address

    assert head(opened(browser)) == (None, f"{PATH}?sort=band_gap")
    assert head(opened(browser, sort="band_gap")) == ("ascending", f"{PATH}?sort=-band_gap")
    where = "natoms > 2"
    order, address = head(opened(browser, sort="-band_gap", where=where, page="2"))
    assert order == "descending"
    assert address == f"{PATH}?sort=band_gap&where=natoms%20%3E%202"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"where": "band_gp > 1"}, "did you mean band_gap"),
        ({"where": "band_gap >"}, "ends too early"),
        ({"where": "(" * 50 + "natoms > 1" + ")" * 50}, "nest"),
        ({"where": "{'$where': 'sleep(1)'}"}, "$where"),
        ({"where": "band_gap_nomodel > 1"}, "no field"),
        ({"sort": "$natural"}, "no field"),
        ({"sort": "elements"}, "no order"),
        ({"fields": "codes"}, "no field"),
        ({"fields": ",".join(["band_gap"] * 30)}, "at most 20 columns"),
        ({"sort": "-"}, "no field"),
    ],
)
def test_a_bad_question_gets_one_sentence(
    query: dict[str, str], said: str, browser: Browser
) -> None:
    page = opened(browser, **query)
    (alert,) = role(page, "alert")
    assert said in alert
    assert alert.count("\n") == 0
    assert len(alert) < 900
    assert not [one for one in walk(page) if one["props"].get("id") == "candidates"]
    typed = {
        one["props"]["id"]: one["props"]["value"] for one in walk(page) if one["type"] == "Input"
    }
    assert typed["where"] == query.get("where", "")  # what was typed can be mended


@pytest.mark.parametrize("number", ["0", "-1", "1e3", "٣", "100001", "9" * 400, "1 OR 1"])
def test_a_page_is_a_number(number: str, browser: Browser) -> None:
    (alert,) = role(opened(browser, page=number), "alert")
    assert "a page is a number" in alert


def test_what_is_typed_becomes_an_address(browser: Browser) -> None:
    output = "address.search"

    def ask(where: Any, fields: Any, search: Any) -> Any:
        inputs = [
            ("apply", "n_clicks", 1),
            ("where", "n_submit", None),
            ("fields", "n_submit", None),
        ]
        state = [
            ("where", "value", where),
            ("fields", "value", fields),
            ("address", "search", search),
        ]
        return browser.ask(output, inputs, state)

    answer = ask('formula = "GaN"', " band_gap ", "?where=old&sort=-band_gap&page=3")
    address = answer.get_json()["response"]["address"]["search"]
    assert address == "?where=formula%20%3D%20%22GaN%22&fields=band_gap&sort=-band_gap"
    assert table(browser.open(PATH, "?fields=band_gap"), "candidates")[0][1].startswith("band_gap")
    for hostile in ({"$gt": 1}, ["x"], 3, "x" * 20_000):
        assert ask(hostile, "", "").status_code == 400
