"""A value is computed again when that is worth it, and at once when it must be."""

from __future__ import annotations

import time

from agents.rationed import SHARE, Rationed


def test_what_takes_long_is_computed_seldom() -> None:
    calls = []

    def compute() -> int:
        calls.append(time.monotonic())
        time.sleep(0.02)
        return len(calls)

    value = Rationed(compute)
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        value.get()
        time.sleep(0.001)
    assert 2 <= len(calls) <= 1 + 1.0 * SHARE / 0.02
    assert value.get(fresh=True) == len(calls)


def test_what_takes_nothing_is_computed_every_time() -> None:
    numbers = iter(range(100))
    value = Rationed(lambda: next(numbers))
    assert value.get() == 0
    time.sleep(0.01)
    assert value.get() == 1
