"""The funnel counts every candidate once, and as the database does."""

from __future__ import annotations

from campaign_records import candidate, every_way, store_campaign

from db import queries
from db.connection import Session
from db.states import State
from discovery.figures.funnel import FIGURE, STAGES, arrivals, flows
from discovery.figures.source import read_campaign


def test_every_candidate_ends_once(database: Session):
    store_campaign(documents=every_way())
    data = read_campaign("made")
    table = flows(data.candidates)
    ended = table[table["kind"] != "passed"]
    assert ended["candidates"].sum() == len(every_way())
    listed = {(one.stage, one.to): (one.kind, one.candidates) for one in ended.itertuples()}
    assert listed == {
        ("proposed", "invalid_decode"): ("rejected", 1),
        ("proposed", "wait for their energy"): ("waits", 1),
        ("evaluated", "smact"): ("rejected", 2),
        ("evaluated", "wait for the rules"): ("waits", 1),
        ("rules passed", "relaxation_budget"): ("rejected", 1),
        ("rules passed", "max_force"): ("rejected", 1),
        ("rules passed", "wait for relaxation"): ("waits", 1),
        ("relaxed", "error"): ("failed", 1),
        ("screened", "not chosen for DFT"): ("waits", 1),
        ("chosen for DFT", "error"): ("failed", 1),
        ("chosen for DFT", "DFT not finished"): ("waits", 1),
        ("verified by DFT", "hit"): ("hit", 1),
        ("verified by DFT", "outside the windows"): ("miss", 1),
        ("verified by DFT", "no result in a window"): ("miss", 1),
    }


def test_a_stage_is_reached_by_those_whose_history_says_so(database: Session):
    store_campaign(documents=every_way())
    reached = queries.reached("made")
    arrived = arrivals(flows(read_campaign("made").candidates))
    assert [arrived[label] for label in STAGES.values()] == [
        reached.get(str(state), 0) for state in STAGES
    ]
    assert arrived["hits"] == 1


def test_a_ribbon_that_goes_on_holds_those_that_come_to_the_next_stage(database: Session):
    store_campaign(documents=every_way())
    table = flows(read_campaign("made").candidates)
    arrived = arrivals(table)
    for one in table[table["kind"] == "passed"].itertuples():
        assert one.candidates == arrived[one.to]


def test_rare_rules_share_a_ribbon_in_the_picture_and_not_in_the_table(database: Session):
    rules = [f"rule_{letter}" for letter in "abcdefg"]
    store_campaign(
        documents=[
            candidate(number, State.REJECTED, State.EVALUATED, reason=rule)
            for number, rule in enumerate([*rules, *rules[:3]])
        ]
    )
    content = FIGURE.content(read_campaign("made"))
    assert set(content.table["to"]) >= set(rules)
    words = [text.get_text() for text in content.draw().axes[0].texts]
    assert "✗ 4  4 other rules" in words
    assert "✗ 2  rule a" in words
