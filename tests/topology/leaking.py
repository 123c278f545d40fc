"""Tasks that leak memory, and that hang, for a worker of the product (``--include=leaking``)."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

from celery.exceptions import SoftTimeLimitExceeded

from discovery.workers.celery_app import app

LEAKED: list[bytearray] = []


def note(file: str, *words: object) -> None:
    with Path(file).open("a") as notes:
        notes.write(" ".join(map(str, (os.getpid(), *words))) + "\n")


@app.task(name="topology.leak")
def leak(file: str, megabytes: int) -> None:
    """Keep memory for ever."""
    LEAKED.append(bytearray(os.urandom(1024) * 1024 * megabytes))
    note(file, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


@app.task(name="topology.hang")
def hang(file: str) -> None:
    """Wait for ever, and go on waiting when asked to end."""
    note(file, "hangs")
    try:
        time.sleep(600)
    except SoftTimeLimitExceeded:
        note(file, "asked")
    time.sleep(600)
