"""Elements of what came through the screens, counted one candidate at a time."""

from __future__ import annotations

from collections import Counter

import pytest
from campaign_records import candidate, every_way, store_campaign
from pymatgen.core import Composition, Element

from db.connection import Session
from db.states import State
from discovery.figures import NothingToShow
from discovery.figures.elements import FIGURE, counts
from discovery.figures.source import read_campaign


def test_counts_are_those_of_the_formulas(database: Session):
    made = every_way()
    store_campaign(documents=made)
    table = counts(read_campaign("made")).set_index("element")
    through = {"screened", "selected", "verifying", "verified"}
    kept = [
        one
        for one in made
        if one["state"] in through
        or (one["state"] == "failed" and one["history"][-1]["from"] in through)
    ]
    groups = {
        "found": kept,
        "proposed": made,
        "hits": [one for one in made if (one.get("verification") or {}).get("hit")],
    }
    for name, members in groups.items():
        wanted = Counter(
            element.symbol for one in members for element in Composition(one["formula"]).elements
        )
        assert table.loc[table[name] > 0, name].to_dict() == dict(wanted)


def test_elements_that_the_campaign_excludes_are_marked(database: Session):
    store_campaign(documents=every_way())
    table = counts(read_campaign("made"))
    excluded = {one.symbol for one in map(Element.from_Z, range(1, 104)) if one.is_lanthanoid}
    excluded |= {one.symbol for one in map(Element.from_Z, range(1, 104)) if one.is_actinoid}
    assert set(table.loc[table["excluded"], "element"]) == excluded


def test_every_element_has_a_place_of_its_own(database: Session):
    store_campaign(documents=every_way())
    axes = FIGURE.content(read_campaign("made")).draw().axes[0]
    corners = {(round(p.get_x(), 2), round(p.get_y(), 2)) for p in axes.patches}
    assert len(corners) == 103


def test_what_was_not_screened_is_not_found(database: Session):
    store_campaign(documents=[candidate(0, State.RELAXED)])
    with pytest.raises(NothingToShow, match="through the screens"):
        FIGURE.content(read_campaign("made"))
