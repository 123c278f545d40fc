"""Filters find exactly the candidates that a loop over all of them finds."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from filter_cases import CASES, make_candidate, predicted, random_filter, verified

from db.connection import Session, ensure_indexes
from db.filters import InvalidFilter
from db.property_table import properties
from db.selection import select, stream

Record = dict[str, Any]
COUNT = 2400


@pytest.fixture(scope="module")
def candidates(mongo_session: Session) -> list[Record]:
    """Candidates with every kind of gap, as they are stored, in order of campaign and proposal."""
    source = random.Random(0)
    made = [make_candidate(number, source) for number in range(COUNT)]
    made.sort(key=lambda one: (one["campaign"], one["seq"]))
    collection = mongo_session.database["candidates"]
    collection.delete_many({})
    ensure_indexes()
    collection.insert_many(random.Random(1).sample(made, COUNT))
    return made


def found(**question: Any) -> list[str]:
    campaign = question.pop("campaign", None)
    return [one["id"] for one in stream(select(campaign, fields=["id"], **question))]


@pytest.mark.parametrize(("text", "meaning"), CASES, ids=[text for text, _ in CASES])
def test_a_filter_finds_what_a_loop_finds(
    candidates: list[Record], text: str, meaning: Callable[[Record], bool]
) -> None:
    expected = [one["_id"] for one in candidates if meaning(one)]
    assert found(where=text) == expected
    assert text == 'formula CONTAINS "."' or 0 < len(expected) < COUNT


def test_any_tree_of_conditions_follows_the_logic_of_unknown_values(
    candidates: list[Record],
) -> None:
    source = random.Random(2)
    sizes = set()
    for _ in range(60):
        text, meaning = random_filter(source)
        expected = [one["_id"] for one in candidates if meaning(one) is True]
        assert found(where=text) == expected, text
        sizes.add(len(expected))
    assert len(sizes) > 20


@pytest.mark.parametrize(
    ("sort", "value"),
    [
        ("band_gap", lambda r: verified(r, "band_gap")),
        ("band_gap_megnet", lambda r: predicted(r, "band_gap", "megnet")),
        ("band_gap_head@castelli2012", lambda r: predicted(r, "band_gap", "head", "castelli2012")),
        ("properties.band_gap_head", lambda r: predicted(r, "band_gap", "head")),
        ("formula", lambda r: r.get("formula")),
        ("hit", lambda r: verified(r, "hit")),
        ("id", lambda r: r["_id"]),
        ("campaign", lambda r: r["campaign"]),
        ("state", lambda r: r["state"]),
        ("natoms", lambda r: r.get("n_atoms")),
    ],
)
@pytest.mark.parametrize("campaign", [None, "two"])
def test_the_order_is_that_of_sorted_and_reversed_with_unknown_ones_last(
    candidates: list[Record], sort: str, value: Callable[[Record], Any], campaign: str | None
) -> None:
    pool = [one for one in candidates if campaign in (None, one["campaign"])]
    unknown = [one["_id"] for one in pool if value(one) is None]
    known = [one for one in pool if value(one) is not None]
    known.sort(key=lambda one: (value(one), one["campaign"], one["seq"]))
    upwards = [one["_id"] for one in known]
    assert found(campaign=campaign, sort=sort) == upwards + unknown
    assert found(campaign=campaign, sort=f"-{sort}") == upwards[::-1] + unknown
    for limit in (1, 7, len(known) + 3):
        assert (
            found(campaign=campaign, sort=f"-{sort}", limit=limit)
            == ((upwards[::-1] + unknown)[:limit])
        )


def test_short_options_are_filters(candidates: list[Record]) -> None:
    pairs = [
        ({"status": "verified"}, 'state = "verified"'),
        ({"status": ["screened", "failed"]}, 'state = "screened" OR state = "failed"'),
        ({"hits": True}, "hit = TRUE"),
        ({"hits": False}, "hit = FALSE"),
        ({"elements": ["Ga", "N"]}, 'elements HAS ALL "Ga", "N"'),
        ({"elements": ["Ga", "Ga"]}, 'elements HAS ALL "Ga", "Ga"'),
        ({"elements": ["Ga"]}, 'elements HAS "Ga"'),
        ({"formula": "NGa"}, 'formula = "GaN"'),
        (
            {"status": "verified", "hits": True, "where": "band_gap > 1 OR natoms < 9"},
            '(band_gap > 1 OR natoms < 9) AND state = "verified" AND hit = TRUE',
        ),
    ]
    for short, text in pairs:
        assert select(**short).where != select().where  # type: ignore[arg-type]
        assert found(**short) == found(where=text) != []
    assert select(hits=True).where == select(where="hit = TRUE").where
    with pytest.raises(InvalidFilter, match="no state is given"):
        select(status=[])


def test_the_stored_table_is_the_one_made_from_the_sources(candidates: list[Record]) -> None:
    for one in candidates:
        flat = {name: value for name, value in properties(one).items() if "@" not in name}
        assert one["properties"] == flat


def test_records_have_the_fields_asked_for(candidates: list[Record]) -> None:
    names = ["formula", "hit", "band_gap_head", "band_gap_head.castelli2012", "created_at"]
    flat = list(stream(select("one", fields=names, sort="-band_gap_head", limit=3)))
    by_id = {one["_id"]: one for one in candidates}
    for one in flat:
        source = by_id[one["id"]]
        assert list(one) == ["id", *names]
        assert one["formula"] == source.get("formula")
        assert one["hit"] == verified(source, "hit")
        assert one["band_gap_head"] == predicted(source, "band_gap", "head")
        assert one["created_at"] == source["created_at"].isoformat()
    (whole,) = stream(select("one", limit=1, without=["predictions"]))
    assert whole["id"]
    assert "predictions" not in whole
    assert "levels" not in whole
