"""Which page an address means, and what may stand in one."""

from __future__ import annotations

import pytest

from discovery.dashboard.page import NoSuchPage, Page, address_of, find_page

PAGES = (
    Page("/", title=lambda address: "all", layout=lambda address: []),
    Page(
        "/campaign/{campaign}/map",
        title=lambda address: "map",
        layout=lambda address: [],
        query=frozenset({"where"}),
    ),
)


def test_what_was_written_is_read_again() -> None:
    where = 'formula = "Ga&N" OR base_id CONTAINS "?#ü%"'
    address = address_of("/campaign/{campaign}/map", {"campaign": "a.b-c_1"}, {"where": where})
    path, _, search = address.partition("?")
    page, found = find_page(PAGES, path, "?" + search)
    assert page is PAGES[1]
    assert found.values == {"campaign": "a.b-c_1"}
    assert found.query == {"where": where}


@pytest.mark.parametrize(
    ("path", "search", "said"),
    [
        ("/campaign/../map", "", "no page"),
        ("/campaign/a/b/map", "", "no page"),
        ("/campaign/<script>/map", "", "no page"),
        ("/campaign/" + "a" * 500 + "/map", "", "no page"),
        ("/campaign/a/map/", "", "no page"),
        ("/campaign/a/map\n", "", "no page"),
        ("/", "?where=1", "knows no 'where'"),
        ("/campaign/a/map", "?<img>=1", "knows no '<img>'"),
        ("/campaign/a/map", "?" + "where=a&" * 30, "cannot be read"),
        ("/campaign/a/map", "?where=%ff", "cannot be read"),
        ("/campaign/a/map", "?where=" + "a" * 20_000, "at most 16,000"),
        ({"$ne": None}, "", "is text"),
        (None, None, "is text"),
        ("/", ["x"], "is text"),
    ],
)
def test_what_is_no_address_is_refused(path: object, search: object, said: str) -> None:
    with pytest.raises(NoSuchPage, match=said):
        find_page(PAGES, path, search)
