"""Answers that several browsers wait for: read once, kept for a while, never read twice at a time.

What an answer costs decides how long it is kept: an answer that took a second is read again after
`REST` seconds at the earliest, so that pages which ask again and again take a twentieth of one
processor at most, however large the campaign and however many windows are open.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, TypeVar

#: Seconds that an answer is kept for each second that it took.
REST = 20.0
LEAST_SECONDS = 2.0
MOST_KEPT = 64
#: Seconds that others wait while an answer is read; then their threads are free for other pages.
PATIENCE = 3.0

T = TypeVar("T")


class StillReading(ValueError):
    """An answer that takes longer to read than anyone waits for."""


@dataclass
class _Place(Generic[T]):
    lock: Lock = field(default_factory=Lock)
    value: T | None = None
    until: float = -1.0


class Shared(Generic[T]):
    """Keeps the last answers of a function of one name.

    Args:
        read: Gives the answer; its errors are passed on and not kept.
        clock: Seconds that only grow.
        patience: Seconds to wait for one who reads the same.
    """

    def __init__(
        self,
        read: Callable[[str], T],
        clock: Callable[[], float] = time.monotonic,
        *,
        patience: float = PATIENCE,
    ) -> None:
        self._read, self._clock, self._patience = read, clock, patience
        self._places: OrderedDict[str, _Place[T]] = OrderedDict()
        self._lock = Lock()

    def get(self, name: str) -> T:
        """Return the answer for a name, read now or a short while ago.

        Whoever comes while it is read waits a while for it, and gets the last one then.

        Raises:
            StillReading: There is no last one.
        """
        with self._lock:
            place = self._places.setdefault(name, _Place())
            self._places.move_to_end(name)
            while len(self._places) > MOST_KEPT:
                self._places.popitem(last=False)
        if not place.lock.acquire(timeout=self._patience):
            if place.value is None:
                raise StillReading("it is being read: look again in a moment")
            return place.value
        try:
            if place.value is None or self._clock() >= place.until:
                began = self._clock()
                place.value = self._read(name)
                now = self._clock()
                place.until = now + max(LEAST_SECONDS, REST * (now - began))
            return place.value
        finally:
            place.lock.release()
