"""Wall-clock and processor time side by side: the machine may be busy with other work."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True)
class Seconds:
    """A duration.

    Attributes:
        wall: seconds on the clock.
        cpu: seconds of processor time of this process, all its threads together.
    """

    wall: float = 0.0
    cpu: float = 0.0

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall + other.wall, self.cpu + other.cpu)

    def __sub__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall - other.wall, self.cpu - other.cpu)

    def __truediv__(self, parts: int) -> Seconds:
        return Seconds(self.wall / parts, self.cpu / parts)

    @classmethod
    def now(cls) -> Seconds:
        """Return both clocks; only differences mean anything."""
        return cls(time.perf_counter(), time.process_time())


@dataclass
class Stopwatch:
    """Adds up the time spent inside `with` blocks.

    Attributes:
        total: of all blocks so far.
    """

    total: Seconds = Seconds()
    _started: Seconds = field(default=Seconds(), repr=False)

    def __enter__(self) -> Self:
        self._started = Seconds.now()
        return self

    def __exit__(self, *_: object) -> None:
        self.total += Seconds.now() - self._started
