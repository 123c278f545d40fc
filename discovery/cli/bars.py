"""What a command is doing, how far it is, and how long it will take, on stderr.

On a terminal this is one line that is drawn over and disappears at the end; elsewhere a line is
printed now and then. A command that is over within a second says nothing.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from discovery.cli.output import print_progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from discovery.references.fetch.source import FetchProgress
    from discovery.references.importing import ImportProgress

DELAY = 1.0
"""Seconds that a command may take before it says anything."""
EVERY, MOST = 5.0, 60.0
"""Seconds between the first two lines where there is no terminal, and between later ones."""
REFRESH_PER_SECOND = 5.0
FIRST_ESTIMATE = 2.0
"""Seconds after which a rate says something about the time that is left."""
FRAMES = {True: "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", False: "|/-\\"}
BAR = {True: ("━", "╌"), False: ("#", "-")}
WIDEST_BAR, NARROWEST_BAR = 30, 8


class Working:
    """Says what a command is doing, from the beginning of a ``with`` block to its end.

    Args:
        what: What is done, for instance "relaxing".
    """

    def __init__(self, what: str) -> None:
        self._lock = threading.Lock()
        self._terminal = False
        self._console: Console | None = None
        self._live: Live | None = None
        self._ended = threading.Event()
        self._speaker = threading.Thread(target=self._speak, name="progress", daemon=True)
        self._pause = EVERY
        self.part(what)

    def part(self, what: str, total: float | None = None, unit: str = "") -> None:
        """Begin another part.

        Args:
            what: What is done.
            total: How much there is to do; None: unknown.
            unit: Of what, for instance "crystals".
        """
        with self._lock:
            self._what, self._unit = what, unit
            self._done, self._total = 0.0, total
            self._began = time.monotonic()
            self._first: tuple[float, float] | None = None
            self._pause = EVERY

    def at(self, done: float, total: float | None = None, *, what: str | None = None) -> None:
        """Say how much of the part is done.

        Args:
            done: So much.
            total: Of so much; None: as before.
            what: What is done now; None: as before.
        """
        with self._lock:
            self._done = done
            self._total = self._total if total is None else total
            self._what = what or self._what
            if self._first is None:  # what was there before does not say how fast this goes
                self._first = (time.monotonic(), done)

    def say(self, line: str) -> None:
        """Print a line that stays."""
        if self._live is not None:
            self._live.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print_progress(line)

    def line(self, width: int | None = None, *, unicode: bool = True) -> str:
        """Describe the part.

        Args:
            width: Of the terminal, which gets a bar where there is room for one; None: no terminal.
            unicode: Whether it shows more than ASCII.
        """
        with self._lock:
            seconds = time.monotonic() - self._began
            what, amount = self._what, self._amount()
            share = None if not self._total else min(self._done / self._total, 1.0)
            left = self._left()
        passed = clock(seconds) if left is None else f"{clock(seconds)}, about {clock(left)} left"
        if width is None:
            return ", ".join(filter(None, (what, amount, passed)))
        texts = f"{what}  {amount}".rstrip()
        if left is not None and len(texts) + len(passed) + 4 > width:
            passed = f"{clock(left)} left"
        room = width - len(texts) - len(passed) - 6
        bar = ""
        if share is not None and room >= NARROWEST_BAR:
            full, empty = BAR[unicode]
            length = min(room, WIDEST_BAR)
            filled = round(length * share)
            bar = f"{full * filled}{empty * (length - filled)}  "
        frames = FRAMES[unicode]
        frame = frames[int(time.monotonic() * REFRESH_PER_SECOND) % len(frames)]
        return f"{frame} {texts}  {bar}{passed}"

    def __rich__(self) -> Text:
        from rich.text import Text

        console = self._stderr()
        line = self.line(console.width, unicode=console.encoding.startswith("utf"))
        return Text(line, no_wrap=True, overflow="ellipsis")

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._terminal = not self._stderr().is_dumb_terminal
        self._speaker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._speaker.join()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _speak(self) -> None:
        """Begin to say something if the command lasts; on a terminal Rich goes on with it."""
        if self._ended.wait(DELAY):
            return
        if self._terminal:
            self._draw()
            return
        while True:
            print_progress(self.line())
            pause = self._pause
            self._pause = min(2 * pause, MOST)
            if self._ended.wait(pause):
                return

    def _draw(self) -> None:
        from rich.live import Live

        # stdout may be a file or a pipe that gets one JSON document; and a process that is forked
        # for a part of the work must not wait for a lock of this thread to write a warning.
        live = Live(
            self,
            console=self._stderr(),
            refresh_per_second=REFRESH_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        live.start()
        self._live = live

    def _stderr(self) -> Console:
        from rich.console import Console

        if self._console is None:
            self._console = Console(stderr=True)
        return self._console

    def _left(self) -> float | None:
        """Estimate the seconds that are left from what was done since this part began."""
        now = time.monotonic()
        if not self._total or self._first is None or now - self._began < FIRST_ESTIMATE:
            return None
        since, before = self._first
        if self._done <= before:
            since, before = self._began, 0.0
        rate = (self._done - before) / max(now - since, 1e-3)
        left = max(self._total - self._done, 0.0)
        return left / rate if left and rate > 0 else None

    def _amount(self) -> str:
        if self._unit == "%" and self._total:
            return f"{self._done / self._total:.0%}"
        if not self._total:
            return f"{self._done:,.0f} {self._unit}".rstrip() if self._done else ""
        form = ",.1f" if self._unit in ("MB", "GB") else ",.0f"
        return f"{self._done:{form}} of {self._total:{form}} {self._unit}".rstrip()


def working(what: str) -> Working:
    """Return what says, in a ``with`` block, that something is done."""
    return Working(what)


def clock(seconds: float) -> str:
    """Write a duration as minutes and seconds, or hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextmanager
def import_bar() -> Iterator[Callable[[ImportProgress], None]]:
    """Show an import: the table, the share of all tables, and the time that is left."""
    with working("opening the database") as work:
        begun = False

        def tell(one: ImportProgress) -> None:
            nonlocal begun
            what = f"{one.file}: {one.rows:,} rows"
            if not begun:
                begun = True
                work.part(what, total=1.0, unit="%")
            work.at(one.fraction, what=what)

        yield tell


@contextmanager
def fetch_bar() -> Iterator[Callable[[FetchProgress], None]]:
    """Show a fetch: one file or collection after the other."""
    with working("asking the source") as work:
        what = ""

        def tell(one: FetchProgress) -> None:
            nonlocal what
            size = 1e6 if one.unit == "bytes" else 1
            total = None if one.total is None else one.total / size
            if one.what != what:
                what = one.what
                work.part(what, total, "MB" if one.unit == "bytes" else "crystals")
            work.at(one.done / size, total)

        yield tell
