"""Progress of long commands on stderr: bars on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from discovery.cli.output import print_progress

if TYPE_CHECKING:
    from discovery.references.fetch.source import FetchProgress
    from discovery.references.importing import ImportProgress

#: Seconds between two lines where there is no terminal.
EVERY = 5.0


@contextmanager
def import_bar() -> Iterator[Callable[[ImportProgress], None]]:
    """Show an import: rows, rows per second and the time that is left."""
    if not sys.stderr.isatty():
        yield _lines(_import_line)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("reading", total=1.0)
        yield lambda one: bar.update(
            task, completed=one.fraction, description=_import_line(one), refresh=True
        )


@contextmanager
def fetch_bar() -> Iterator[Callable[[FetchProgress], None]]:
    """Show a fetch: one bar for each file or collection."""
    if not sys.stderr.isatty():
        yield _lines(_fetch_line)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        tasks: dict[tuple[str, str], TaskID] = {}

        def tell(one: FetchProgress) -> None:
            key = (one.what, one.unit)
            if key not in tasks:
                tasks[key] = bar.add_task(one.what)
            bar.update(
                tasks[key],
                completed=one.done,
                total=one.total,
                description=_fetch_line(one),
            )

        yield tell


Told = TypeVar("Told")


def _lines(words: Callable[[Told], str]) -> Callable[[Told], None]:
    last = -EVERY

    def tell(one: Told) -> None:
        nonlocal last
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            print_progress(words(one))

    return tell


def _import_line(one: ImportProgress) -> str:
    left = "" if one.seconds_left is None else f", {_duration(one.seconds_left)} left"
    return (
        f"{one.file}: {one.rows:,} rows, {one.fraction:.0%} of {one.collection}, "
        f"{one.rows_per_second:,.0f} rows/s{left}"
    )


def _fetch_line(one: FetchProgress) -> str:
    if one.unit == "bytes":
        total = "" if one.total is None else f" of {one.total / 1e6:.1f}"
        return f"{one.what}: {one.done / 1e6:.1f}{total} MB"
    total = "" if one.total is None else f" of {one.total:,}"
    return f"{one.what}: {one.done:,}{total} crystals"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
