"""The event log: own events and candidates' histories as one stream, asked and followed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from db import campaigns, events
from db.candidates import StaleLease, load, transition
from db.connection import Session
from db.states import State

Propose = Callable[..., list[str]]


@pytest.fixture
def happened(database: Session, propose: Propose) -> list[str]:
    """Two candidates, one evaluated, and two events; another campaign beside them."""
    campaigns.create("c", config={}, seed=0)
    first, second = propose(2)
    transition(first, source=State.PROPOSED, to=State.EVALUATED, token=0, agent="relax")
    events.record("c", "learning", data={"decision": "refused"})
    events.record("other", "learning")
    with pytest.raises(StaleLease):
        transition(second, source=State.PROPOSED, to=State.EVALUATED, token=9, agent="relax")
    return [first, second]


def summary(found: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    return [(one["kind"], one.get("to")) for one in found]


def test_events_are_chosen_by_kind_and_candidate(happened: list[str]) -> None:
    first, second = happened
    steps = [("transition", "proposed")] * 2 + [("transition", "evaluated")]
    assert summary(events.events("c", kinds=["transition"])) == steps
    assert summary(events.events("c", kinds=["learning"])) == [("learning", None)]
    assert summary(events.events("c", candidate=first)) == [steps[0], steps[2]]
    refused = ("stale_write_refused", None)
    assert summary(events.events("c", candidate=second)) == [steps[0], refused]
    assert len(events.events("c")) == 5


def test_following_tells_every_step_once_and_nothing_of_others(
    happened: list[str], propose: Propose
) -> None:
    first, _ = happened
    start = events.position()
    done = threading.Event()
    seen: list[dict[str, Any]] = []

    def follow() -> None:
        for one in events.follow("c", start, done.is_set):
            seen.append(one)
            if len(seen) == 5:
                done.set()

    thread = threading.Thread(target=follow)
    thread.start()
    states = (State.EVALUATED, State.PRESCREENED, State.RELAXING, State.RELAXED)
    for source, to in pairwise(states):
        token = load(first).token
        transition(first, source=source, to=to, token=token, agent="test", reason="as told")
    events.record("other", "learning")
    events.record("c", "stopped", data={"why": "test"})
    (third,) = propose(1)
    thread.join(20)
    done.set()
    assert summary(seen) == [
        *(("transition", str(state)) for state in states[1:]),
        ("stopped", None),
        ("transition", "proposed"),
    ]
    assert [one.get("candidate") for one in seen] == [first] * 3 + [None, third]
    assert seen == [one for one in events.events("c") if one["at"] >= seen[0]["at"]]


def test_events_of_a_kind_are_counted_by_the_index_alone(database: Session) -> None:
    for kind in ("learning", "learning", "repair"):
        events.record("c", kind)
    counting = {
        "aggregate": "events",
        "cursor": {},
        "pipeline": [
            {"$match": {"campaign": "c", "kind": "learning"}},
            {"$group": {"_id": 1, "n": {"$sum": 1}}},
        ],
    }
    said = database.database.command("explain", counting, verbosity="executionStats")
    assert _number(said, "totalDocsExamined") == 0


def _number(said: dict[str, Any], name: str) -> int:
    """Find a number anywhere in what the server explained."""
    stack: list[Any] = [said]
    while stack:
        one = stack.pop()
        if isinstance(one, dict):
            if name in one:
                return int(one[name])
            stack += one.values()
        elif isinstance(one, list):
            stack += one
    raise KeyError(name)
