"""What is remembered of rejected candidates gives the same as reading every candidate again."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from db import campaigns, settled
from db.candidates import load, transition
from db.connection import Session
from db.owners import owner_name
from db.restoration import Restoration
from db.snapshot import GONE
from db.states import ALLOWED, TERMINAL, State

BY_STATE = [{"$group": {"_id": "$state", "n": {"$sum": 1}}}]


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settled, "RANGE", 10)


def counted(purpose: str = "test") -> Counter[str]:
    total: Counter[str] = Counter()
    for group in settled.aggregate("c", purpose, BY_STATE):
        total[group["_id"]] += group["n"]
    return total


def reject(candidate_id: str) -> None:
    found = load(candidate_id)
    transition(
        candidate_id,
        **{"source": State(found.state), "to": State.REJECTED, "token": found.token},
        **{"agent": "test", "reason": "smact"},
    )


def test_what_is_remembered_is_what_is_there(
    database: Session, propose: Callable[..., list[str]]
) -> None:
    campaigns.create("c", config={}, seed=0)
    source, ids = random.Random(3), propose(35)
    propose(7, campaign="other")
    for _ in range(12):
        for one in source.sample(ids, 9):
            found = load(one)
            state = State(found.state)
            if state in TERMINAL:
                continue
            to = source.choice(sorted(ALLOWED[state]))
            transition(one, source=state, to=to, token=found.token, agent="test", reason="a test")
        ids += propose(source.randrange(4))
        read = Counter(
            one["state"] for one in database.database["candidates"].find({"campaign": "c"})
        )
        assert counted() == read
    assert counted()["rejected"] > 10
    ranges = database.database["settled"].distinct("range", {"campaign": "c"})
    assert len(ranges) > 2


def test_rejected_candidates_are_read_once(
    database: Session, propose: Callable[..., list[str]]
) -> None:
    campaigns.create("c", config={}, seed=0)
    ids = propose(20)
    for one in ids[:3] + ids[15:18]:
        reject(one)
    assert counted() == {"proposed": 14, "rejected": 6}
    # As no code does: the record of a rejected candidate in each range changes.
    candidates = database.database["candidates"]
    for one in (ids[0], ids[15]):
        candidates.update_one({"_id": one}, {"$set": {"n_atoms": 5}})
    five = [{"$match": {"n_atoms": 5}}, {"$count": "n"}]
    assert sum(one["n"] for one in settled.aggregate("c", "test", five)) == 2  # other stages
    candidates.update_many({"campaign": "c"}, {"$unset": {"n_atoms": 1}})
    assert sum(one["n"] for one in settled.aggregate("c", "test", five)) == 2
    reject(ids[3])
    assert sum(one["n"] for one in settled.aggregate("c", "test", five)) == 1
    assert len(list(database.database["settled"].find({"purpose": "test"}))) == 2


def test_another_campaign_of_the_name_is_read_anew(
    database: Session, propose: Callable[..., list[str]]
) -> None:
    campaigns.create("c", config={}, seed=0)
    reject(propose(1)[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settled, "_of_range", lambda *_: [{"_id": "rejected", "n": 99}])
        assert counted("made up") == {"rejected": 99}
    assert counted("made up") == {"rejected": 99}
    database.database["campaigns"].delete_many({})
    campaigns.create("c", config={}, seed=0)
    assert counted("made up") == {"rejected": 1}
    counted("test")
    for name in ("campaigns", "candidates"):
        database.database[name].delete_many({})
    Restoration("c", owner_name())
    assert database.database["settled"].count_documents({}) == 0


@pytest.mark.parametrize("why", [settled.UNAUTHORIZED, *GONE])
def test_who_may_only_read_or_reads_too_long_gets_the_same(
    why: int, database: Session, propose: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    campaigns.create("c", config={}, seed=0)
    reject(propose(4)[1])

    def refuse(code: int) -> Callable[..., Any]:
        def replace_one(*_: Any, **__: Any) -> Any:
            raise OperationFailure("not authorized on discovery to execute command", code)

        return replace_one

    monkeypatch.setattr(Collection, "replace_one", refuse(why))
    assert counted() == {"proposed": 3, "rejected": 1}
    assert database.database["settled"].count_documents({}) == 0
    monkeypatch.setattr(Collection, "replace_one", refuse(8000))
    with pytest.raises(OperationFailure):
        counted()
