"""The pool of a worker: real processes, of which the one that waits for work is killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from celery.bin.worker import WorkersPool

from discovery.workers.pool import SurvivingLock, SurvivingPool, TaskPool


def which_process() -> int:
    return os.getpid()


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def pool() -> Iterator[SurvivingPool]:
    made = SurvivingPool(2)
    yield made
    made.terminate()
    made.join()


def test_whoever_dies_the_others_work_on(pool: SurvivingPool) -> None:
    for _ in range(3):
        assert pool.apply_async(which_process).get(timeout=20) > 0
        time.sleep(0.2)  # one of them waits for the next task, and holds the lock
        dead = [process.pid for process in pool._pool]
        for pid in dead:
            os.kill(pid, signal.SIGKILL)
        until(lambda dead=dead: not {p.pid for p in pool._pool} & set(dead))
    assert pool.apply_async(which_process).get(timeout=20) not in dead


def holds_the_lock(lock: SurvivingLock, told: Path) -> None:
    lock.acquire()
    told.touch()
    time.sleep(60)


def test_the_lock_excludes_another_process_until_its_holder_dies(tmp_path: Path) -> None:
    lock, told = SurvivingLock(), tmp_path / "held"
    holder = os.fork()
    if holder == 0:
        holds_the_lock(lock, told)
        os._exit(0)
    until(told.exists)
    waiting = os.fork()
    if waiting == 0:
        with lock:
            (tmp_path / "got it").touch()
        os._exit(0)
    time.sleep(0.3)
    assert not (tmp_path / "got it").exists()
    os.kill(holder, signal.SIGKILL)
    until((tmp_path / "got it").exists)
    for pid in (holder, waiting):
        os.waitpid(pid, 0)


def test_workers_use_it() -> None:
    from discovery.workers.celery_app import app

    context = click.Context(click.Command("worker"), obj=SimpleNamespace(app=app))
    chosen = WorkersPool().convert("prefork", None, context)
    assert chosen is TaskPool
    assert TaskPool.BlockingPool is SurvivingPool
