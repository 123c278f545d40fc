"""The index of a question is the one with the fewest keys, or the order's where none has few."""

from __future__ import annotations

import random

import pytest
from filter_cases import CASES, make_candidate

from db import index_choice
from db.connection import Session
from db.selection import questions, select, stream


@pytest.fixture
def filled(database: Session) -> Session:
    source = random.Random(6)
    made = [make_candidate(number, source) for number in range(600)]
    database.database["candidates"].insert_many(made)
    return database


def chosen(where: str | None, sort: str | None = None, limit: int | None = None) -> str | None:
    return questions(select("one", where=where, sort=sort, limit=limit), "one")[0].index


def test_every_index_that_may_be_chosen_exists(database: Session) -> None:
    existing = set(database.database["candidates"].index_information())
    named = {*index_choice.INDEXES.values(), *index_choice.COMPOUND_INDEXES}
    assert named | {index_choice.ORDER_OF_PROPOSAL} <= existing


def test_the_most_selective_condition_decides(
    filled: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_choice, "FEW_KEYS", 0)
    assert chosen('formula = "GaN" AND state != "failed"') == "campaign_1_formula_1_seq_1"
    assert chosen('hit = TRUE AND elements HAS ALL "Ga","N"') == "campaign_1_element_pairs_1_seq_1"
    assert chosen("band_gap > 2.9 AND hit = TRUE") == "campaign_1_properties.band_gap_1_seq_1"
    assert chosen("band_gap > -9 AND hit = TRUE") == "campaign_1_verification.hit_1_seq_1"
    assert chosen("episode = 1 AND generation = 2") == ("campaign_1_episode_1_generation_1_state_1")
    windows = "band_gap_megnet > 1 AND formation_energy_per_atom_megnet < -1"
    assert chosen(windows) in index_choice.COMPOUND_INDEXES
    assert chosen('hit = TRUE OR formula = "GaN"') is None
    assert chosen('base_id = "x"') is None


def test_where_much_fits_the_order_decides(
    filled: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MOST_KEYS", "MOST_KEYS_FOR_A_PAGE", "FEW_KEYS"):
        monkeypatch.setattr(index_choice, name, 5)
    assert chosen('state != "failed" AND natoms > 3 AND band_gap > 0') == "campaign_1_seq_1"
    assert chosen("hit = TRUE", "-band_gap_megnet", 10) == (
        "campaign_1_properties.band_gap_megnet_1_seq_1"
    )
    assert chosen("hit = TRUE", "natoms") is None


def test_what_is_found_does_not_depend_on_the_index(
    filled: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [text for text, _ in CASES]

    def found() -> list[list[str]]:
        return [[one["id"] for one in stream(select("one", where=text))] for text in texts]

    first = found()
    for name in ("MOST_KEYS", "MOST_KEYS_FOR_A_PAGE", "FEW_KEYS"):
        monkeypatch.setattr(index_choice, name, 5)
    assert found() == first
    monkeypatch.setattr("db.selection.choose_index", lambda *_, **__: None)
    assert found() == first


def test_a_window_is_answered_without_reading_what_is_outside(filled: Session) -> None:
    where = (
        "band_gap_megnet >= 0 AND band_gap_megnet <= 1 AND formation_energy_per_atom_megnet < -0.5"
    )
    (asked,) = questions(select("one", where=where), "one")
    cursor = filled.database["candidates"].find(asked.query, sort=asked.sort, hint=asked.index)
    done = cursor.explain()["executionStats"]
    assert done["totalDocsExamined"] == done["nReturned"] > 0
