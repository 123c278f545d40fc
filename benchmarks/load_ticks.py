"""The loop of the large campaign: how long its ticks take, what they read, whether it grows."""

from __future__ import annotations

import gc
import os
import resource
import statistics
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any
from unittest import mock

import load_records
import numpy as np
from load_profile import profiled
from load_records import CAMPAIGN
from load_work import Clock

from agents.rationed import Rationed
from db import campaigns
from db.connection import Session

SELDOM = 1e-9
"""Share of the time in which nothing that is rationed is counted twice."""


@contextmanager
def timed_steps(loop: Any, spent: dict[str, list[float]]) -> Iterator[None]:
    """Note how long the steps of a tick take, s."""
    import discovery.campaign.loop as module

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                spent[name].append(time.perf_counter() - started)

        return call

    steps = {
        "reap": (module.candidates, "reap"),
        "propose": (loop, "_propose"),
        "dispatch": (module, "dispatch_relaxations"),
        "counts": (loop._tally, "counts"),
        "unplaced": (loop, "_unplaced"),
        "first open": (module, "first_open"),
        "verify": (loop.verification, "step"),
        "follow up": (loop, "_follow_up"),
        "learn": (loop, "_learn"),
        "enough hits": (loop, "_enough_hits"),
    }
    with ExitStack() as stack:
        for name, (owner, attribute) in steps.items():
            function = timed(name, getattr(owner, attribute))
            stack.enter_context(mock.patch.object(owner, attribute, function))
        yield


def make_loop(session: Session) -> Any:
    """Return the loop of the campaign, without workers; it has the lead."""
    from agents.verify.backend import resolve_backend
    from discovery.campaign.lead import LEADER_SECONDS
    from discovery.campaign.loop import CampaignLoop
    from discovery.workers.runtime import Runtime

    config = load_records.config()
    resolved = {
        "dft": resolve_backend(config.verify),
        "potential": {"name": "chgnet", "device": "cpu"},
        "generator": {"name": "perov5", "version": "", "head": ""},
        "screens": [],
        "hull": {"used": True, "name": "none", "checksum": ""},
    }
    campaigns.create(CAMPAIGN, config=config.record(), resolved=resolved, seed=1)
    loop = CampaignLoop(Runtime(CAMPAIGN, config=config), session)
    loop.lead.take(100 * LEADER_SECONDS)
    return loop


def ticks(session: Session, number: int) -> dict[str, Any]:
    """Let the loop tick.

    Returns:
        ``first_ms`` (candidates are chosen for DFT and their calculations queued), ``median_ms`` of
        the others with the processor time in it, median of each step, and what the server did:
        ``every`` in a tick that counts nothing again of what is rationed (`agents.rationed`),
        ``rationed`` in one that counts all of it.
    """
    loop = make_loop(session)
    started = time.perf_counter()
    loop.tick()
    first = time.perf_counter() - started
    walls, processor, spent = [], [], defaultdict(list)
    with timed_steps(loop, spent):
        for _ in range(number):
            clock = Clock(session)
            loop.tick()
            reading = clock.read()
            walls.append(reading["wall"])
            processor.append(reading["own"] + reading["server"])
    with mock.patch.object(Rationed, "get", _counted_anew):
        rationed = _profiled_tick(session, loop)
    with mock.patch("agents.rationed.SHARE", SELDOM):
        loop.tick()  # whatever is due is counted once more, and then not for long
        every = _profiled_tick(session, loop)
    loop.lead.resign()
    return {
        "first_ms": 1e3 * first,
        "median_ms": 1e3 * statistics.median(walls),
        "cpu_ms": 1e3 * statistics.median(processor),
        "steps_ms": {name: 1e3 * statistics.median(seconds) for name, seconds in spent.items()},
        "every": every,
        "rationed": rationed,
    }


def _counted_anew(value: Rationed[Any], *, fresh: bool = False) -> Any:
    """Stand in for `Rationed.get` where nothing is to be remembered."""
    return value._compute()


def _profiled_tick(session: Session, loop: Any) -> dict[str, Any]:
    """Record the operations of one tick."""
    with profiled(session.database) as queries:
        loop.tick()
    return {
        "keys": sum(query.keys for query in queries),
        "documents": sum(query.documents for query in queries),
        "queries": [query.record() for query in queries],
    }


def growth(loop: Any, number: int, every: int) -> dict[str, Any]:
    """Tick so many times and read the memory now and then; the first tenth is for warming up.

    Returns:
        ``rss_mb`` at the begin and at the end, ``kb_per_1000_ticks`` (slope of a straight line),
        and what Python itself holds more at the end than in the middle (``traced_kb``).
    """
    loop.tick()
    readings, used = [], time.process_time()
    for done in range(number):
        loop.tick()
        if done % every == 0:
            gc.collect()
            readings.append((done, _rss_kb()))
        if done == number // 2:
            tracemalloc.start()
            middle = tracemalloc.get_traced_memory()[0]
        if done == number // 2 + number // 10:
            gc.collect()
            traced = tracemalloc.get_traced_memory()[0] - middle
            tracemalloc.stop()
    warm = [(at, kb) for at, kb in readings if at >= number // 10]
    slope = float(np.polyfit(*np.array(warm, dtype=float).T, 1)[0])
    return {
        "ticks": number,
        "rss_mb": [warm[0][1] / 1024, warm[-1][1] / 1024],
        "kb_per_1000_ticks": 1000 * slope,
        "traced_kb": traced / 1024,
        "cpu_s": time.process_time() - used,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _rss_kb() -> int:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
