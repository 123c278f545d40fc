"""Work in several processes whose results come back in the order of the work."""

from __future__ import annotations

import signal
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from discovery.workers.processes import die_with_parent

#: Items that wait for each process.
AHEAD = 3


class WorkLost(RuntimeError):
    """A process ended before its work was done."""


Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], processes: int
) -> Iterator[Result]:
    """Apply a function to items, taking only a few of them in advance.

    Args:
        function: Of a module, so that other processes find it.
        items: Read as results are taken.
        processes: 1: this process alone.

    Yields:
        The results in the order of the items.

    Raises:
        WorkLost: A process was killed, perhaps for want of memory.
    """
    if processes == 1:
        yield from map(function, items)
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), _start) as pool:
        try:
            waiting: deque[Future[Result]] = deque()
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > AHEAD * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise WorkLost(
                "one of the processes was killed, perhaps for want of memory (run it again, it "
                "continues), or could not start (a script of yours needs "
                '`if __name__ == "__main__":`)'
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _start() -> None:
    """Prepare a process: it ends with its parent, which alone hears Ctrl-C."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # As the command line does, whose filters a spawned process does not have.
    warnings.filterwarnings("ignore", message="No Pauling electronegativity", category=UserWarning)
