"""One page is a slice of what `db.selection.stream` gives, whatever the order and the filter."""

from __future__ import annotations

import random

import pytest
from filter_cases import make_candidate

from db import pages
from db.connection import Session
from db.selection import select, stream


@pytest.fixture
def stored(database: Session) -> None:
    source = random.Random(7)
    made = [make_candidate(number, source) | {"campaign": "one"} for number in range(90)]
    other = [make_candidate(number, source) | {"campaign": "two"} for number in range(90, 100)]
    database.database["candidates"].insert_many([*made, *other])


@pytest.mark.parametrize("sort", [None, "-band_gap", "band_gap_head", "state", "-id", "is_metal"])
@pytest.mark.parametrize("where", [None, 'elements HAS "Ga"', "hit = TRUE", "natoms > 99"])
def test_pages_put_together_are_the_whole_answer(
    stored: None, sort: str | None, where: str | None
) -> None:
    chosen = select("one", where=where, sort=sort, fields=["formula", "band_gap"])
    whole = list(stream(chosen))
    for size in (7, 30):
        found = [
            row
            for first in range(0, len(whole) + 2 * size, size)
            for row in pages.read_page(chosen, "one", first=first, size=size, seconds=20)
        ]
        assert found == whole
    assert pages.count(chosen, "one", most=1000, seconds=20) == pages.Total(len(whole), True)


def test_a_count_ends_at_its_limit(stored: None) -> None:
    chosen = select("one", sort="-band_gap")
    assert pages.count(chosen, "one", most=90, seconds=20) == pages.Total(90, True)
    assert pages.count(chosen, "one", most=89, seconds=20) == pages.Total(89, False)


def test_what_takes_too_long_is_given_up(stored: None) -> None:
    chosen = select("one", where="natoms > 3")
    with pytest.raises(pages.TooSlow, match=r"longer than 1e-06 s"):
        pages.read_page(chosen, "one", first=0, size=5, seconds=1e-6)
    assert pages.count(chosen, "one", most=9, seconds=1e-6) == pages.Total(0, False)
