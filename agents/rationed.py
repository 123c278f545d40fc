"""A value that takes ever longer to compute, computed as often as it is worth."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Generic, TypeVar

SHARE = 0.05
"""Of the loop's time that counting again may take."""

T = TypeVar("T")


class Rationed(Generic[T]):
    """A value that is computed again once that takes at most a twentieth of the time since.

    Counting a million records takes half a second and the loop ticks twice a second; what is only
    shown, or only asks whether enough came together, may then be some seconds old. While counting
    takes milliseconds it is done at every tick.

    Args:
        compute: Computes the value.
    """

    def __init__(self, compute: Callable[[], T]) -> None:
        self._compute = compute
        self._value: T | None = None
        self._due = -math.inf

    def get(self, *, fresh: bool = False) -> T:
        """Return the value.

        Args:
            fresh: Compute it now, however long that takes.
        """
        if self._value is None or fresh or time.monotonic() >= self._due:
            started = time.monotonic()
            self._value = self._compute()
            ended = time.monotonic()
            self._due = ended + (ended - started) / SHARE
        return self._value
