"""Where the first open round begins: against a count of every candidate of every round."""

from __future__ import annotations

import random
from typing import Any

import pytest

from db import generations, queries
from db.candidates import insert_proposals
from db.connection import Session
from db.documents import Candidate
from db.states import State
from discovery.campaign.rounds import BEFORE_SCREENED, first_open

PROPOSERS = 3


def propose(source: random.Random, rounds: int) -> list[list[list[str]]]:
    """Record rounds of three proposers; some of what they propose was proposed before."""
    made: list[list[list[str]]] = []
    known: list[str] = []
    for index in range(rounds):
        made.append([])
        for episode in range(PROPOSERS):
            names = [f"codes-{index}-{episode}-{n}" for n in range(4)]
            names += source.sample(known, min(len(known), 2))
            known += names[:4]
            ids = insert_proposals(
                "c",
                [
                    {
                        **{"generator_version": "g", "codes_hash": name, "codes": {"crystal": [1]}},
                        **{"episode": episode, "generation": index},
                    }
                    for name in names
                ],
            )
            generations.record(
                *("c", episode, index),
                **{"proposer": "random", "base_id": None, "seed": 1, "candidate_ids": ids},
                info={"round": index, "proposers": PROPOSERS},
            )
            made[-1].append(ids)
    return made


def by_counting(made: list[list[list[str]]], placed: bool) -> set[str]:
    """Return the candidates of all rounds up to the first in which somebody waits."""
    waiting = {
        one.id
        for one in Candidate.objects(campaign="c")
        if one.state in BEFORE_SCREENED
        or (placed and one.state == State.SCREENED and one.hull is None)
    }
    through: set[str] = set()
    for found in made:
        ids = {name for generation in found for name in generation}
        if ids & waiting:
            break
        through |= ids
    return through


@pytest.mark.parametrize("placed", [False, True])
def test_it_is_where_counting_every_candidate_of_every_round_says(
    database: Session, placed: bool
) -> None:
    source = random.Random(1)
    made = propose(source, rounds=5)
    collection = database.database["candidates"]
    everyone: list[dict[str, Any]] = list(collection.find())
    sets = set()
    for _ in range(40):
        share = source.choice([0.02, 0.1, 0.3])
        for one in everyone:
            open_state = source.choice([str(state) for state in BEFORE_SCREENED])
            state = open_state if source.random() < share else source.choice(["screened", "failed"])
            hull = None if source.random() < share else {"level": "l"}
            collection.update_one({"_id": one["_id"]}, {"$set": {"state": state, "hull": hull}})
        before = first_open("c", placed=placed)
        found = {one["_id"] for one in everyone if before is None or one["seq"] < before}
        assert found == by_counting(made, placed)
        sets.add(len(found))
    assert len(sets) > 3  # several rounds were the first open one


def test_a_round_that_is_half_recorded_is_open(database: Session) -> None:
    made = propose(random.Random(1), rounds=2)
    database.database["candidates"].update_many({}, {"$set": {"state": "screened"}})
    assert first_open("c") is None
    insert_proposals(
        "c",
        [
            {
                **{"generator_version": "g", "codes_hash": "new", "codes": {"crystal": [1]}},
                **{"episode": 0, "generation": 2},
            }
        ],
    )
    total = sum(len(set(ids)) for found in made for ids in found)
    before = first_open("c")
    assert before is not None
    assert queries.count_state("c", State.SCREENED, before) == queries.count_state(
        "c", State.SCREENED
    )
    assert before < total
