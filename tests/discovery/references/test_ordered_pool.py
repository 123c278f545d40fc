"""Work in several processes."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator

import pytest

from discovery.references.ordered_pool import AHEAD, WorkLost, in_order


def test_results_come_in_the_order_of_the_work_which_is_not_taken_in_advance() -> None:
    slow_first = [30_000, *range(20)]
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in slow_first:
            taken.append(number)
            yield number

    results = in_order(math.factorial, items(), 2)
    assert next(results) == math.factorial(30_000)
    assert len(taken) <= 2 * AHEAD + 2
    assert list(results) == [math.factorial(number) for number in range(20)]


def test_a_killed_process_is_one_clear_sentence() -> None:
    with pytest.raises(WorkLost, match="run it again"):
        list(in_order(signal.raise_signal, [signal.SIGKILL] * 3, 2))
