"""Answers that several wait for are read once."""

from __future__ import annotations

import threading

import pytest

from discovery.dashboard.shared import LEAST_SECONDS, MOST_KEPT, REST, Shared, StillReading


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_dear_answer_is_kept_longer_than_a_cheap_one() -> None:
    clock, cost, reads = Clock(), {"cheap": 0.0, "dear": 2.0}, []

    def read(name: str) -> int:
        clock.now += cost[name]
        reads.append(name)
        return len(reads)

    shared = Shared(read, clock)
    for name, seconds in (("cheap", LEAST_SECONDS), ("dear", 2.0 * REST)):
        first = shared.get(name)
        clock.now += seconds - 0.01
        assert shared.get(name) == first
        clock.now += 0.02
        assert shared.get(name) > first


def test_those_who_ask_at_once_share_one_answer() -> None:
    began, go_on, reads = threading.Event(), threading.Event(), []

    def read(name: str) -> str:
        reads.append(name)
        began.set()
        assert go_on.wait(20)
        return name

    shared, answers = Shared(read), []
    askers = [threading.Thread(target=lambda: answers.append(shared.get("one"))) for _ in range(8)]
    for one in askers:
        one.start()
    assert began.wait(20)
    go_on.set()
    for one in askers:
        one.join(20)
    assert answers == ["one"] * 8
    assert reads == ["one"]


def test_nobody_waits_long_for_one_who_reads() -> None:
    clock, began, go_on = Clock(), threading.Event(), threading.Event()
    reads: list[str] = []

    def read(name: str) -> int:
        reads.append(name)
        began.set()
        assert go_on.wait(20)
        return len(reads)

    shared = Shared(read, clock, patience=0.01)

    def meanwhile() -> int:
        began.clear()
        go_on.clear()
        reader = threading.Thread(target=shared.get, args=("one",))
        reader.start()
        assert began.wait(20)
        try:
            return shared.get("one")
        finally:
            go_on.set()
            reader.join(20)

    with pytest.raises(StillReading, match="look again in a moment"):
        meanwhile()
    assert shared.get("one") == 1
    clock.now += LEAST_SECONDS
    assert meanwhile() == 1  # the last answer
    assert shared.get("one") == 2


def test_an_error_is_not_kept_and_old_answers_go() -> None:
    reads: list[str] = []

    def read(name: str) -> str:
        reads.append(name)
        if name == "bad" and reads.count("bad") == 1:
            raise ValueError("once")
        return name

    shared = Shared(read)
    with pytest.raises(ValueError, match="once"):
        shared.get("bad")
    assert shared.get("bad") == "bad"
    for number in range(MOST_KEPT):
        shared.get(str(number))
    assert len(shared._places) == MOST_KEPT
    shared.get("bad")
    assert reads.count("bad") == 3
