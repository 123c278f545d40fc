"""FireWorks in the same MongoDB: the queue of calculations, its launchers, and their recovery."""

from __future__ import annotations

import errno
import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fireworks import Firework, FWorker, LaunchPad, Workflow
from pymongo.errors import DuplicateKeyError, PyMongoError

from agents import stop
from agents.verify import firetask
from agents.verify.queue import workflow_lock
from agents.verify.queue.recovery import recover
from agents.verify.settings import VerifySettings
from db.connection import Session, home_directory
from db.owners import owner_name
from db.paths import private_folder
from db.retry import LAST_WORDS_SECONDS, idempotent, is_away, patience

log = logging.getLogger(__name__)

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_BEGUN = ("WAITING", "READY", "PAUSED", "FIZZLED", "DEFUSED")
"""States of Fireworks that no launcher runs."""
IDLE_SECONDS = 0.5
RECOVER_SECONDS = 10.0
STOP_SECONDS = 8.0
"""How long a launcher that shall end may take to stop its calculation and say so."""
_DEFAULTS = VerifySettings()


@idempotent
def launchpad(session: Session) -> LaunchPad:
    """Open the queue, in the same database as the candidates.

    Args:
        session: The database connection.

    Returns:
        A LaunchPad whose collections, counters and indexes exist; it logs nothing.
    """
    workflow_lock.install()
    pad = LaunchPad(
        host=session.uri,
        name=session.database_name,
        uri_mode=True,
        strm_lvl="CRITICAL",
        mongoclient_kwargs={"w": "majority", "journal": True, "appname": "discovery-fireworks"},
    )
    for name in ("launchpad", "rocket.launcher"):  # FireWorks sets them to DEBUG
        logging.getLogger(name).propagate = False
    with suppress(DuplicateKeyError):  # another process was faster
        pad.fw_id_assigner.update_one(
            {"_id": "counter"},
            {"$setOnInsert": {"next_fw_id": 1, "next_launch_id": 1}},
            upsert=True,
        )
    pad.fireworks.create_index("fw_id", unique=True)
    pad.fireworks.create_index(
        "spec.calculation",
        unique=True,
        partialFilterExpression={"spec.calculation": {"$exists": True}},
    )
    pad.fireworks.create_index([("state", 1), ("spec._priority", -1), ("created_on", 1)])
    pad.launches.create_index("launch_id", unique=True)
    pad.launches.create_index([("state", 1), ("fw_id", 1)])
    pad.workflows.create_index("nodes")
    return pad


def find_firework(pad: LaunchPad, calculation: str) -> int | None:
    """Return the id of an attempt's Firework (`agents.verify.queue.attempts.job`), or None."""
    found = pad.fireworks.find_one({"spec.calculation": calculation}, {"fw_id": 1})
    return None if found is None else int(found["fw_id"])


def add_firework(
    pad: LaunchPad, spec: dict[str, Any], name: str, *, after: int | None = None
) -> int:
    """Queue a calculation, unless it is queued already.

    The workflow is inserted before its Firework, so that a crash between the two leaves a workflow
    that nobody sees, never a Firework that cannot run; the unique index on ``spec.calculation``
    decides between two who queue the same one. A Firework that waits for another one is inserted
    first and then entered into that one's workflow; as long as it is not, nobody launches it, and
    whoever queues it again does the rest.

    Args:
        pad: The queue.
        spec: What `agents.verify.firetask.RunDFT` reads.
        name: For people.
        after: The Firework that has to complete first; it becomes part of that one's workflow.

    Returns:
        The id of the calculation's one Firework.
    """
    present = find_firework(pad, spec["calculation"])
    if present is None:
        present = _insert(pad, spec, name, after)
    if after is not None:
        append(pad, present, after)
    return present


def _insert(pad: LaunchPad, spec: dict[str, Any], name: str, after: int | None) -> int:
    fw_id = int(pad.get_new_fw_id())
    priority = -fw_id  # first come, first served
    if after is not None:  # a workflow that has begun goes on before others begin
        root = pad.fireworks.find_one({"fw_id": after}, {"spec._priority": 1}) or {}
        priority = root.get("spec", {}).get("_priority", priority)
    spec = {**spec, "_priority": priority}
    state = "READY" if after is None else "WAITING"
    firework = Firework([firetask.RunDFT()], spec=spec, name=name, fw_id=fw_id, state=state)
    if after is None:
        pad.workflows.insert_one(Workflow([firework], name=name).to_db_dict())
    try:
        pad.fireworks.insert_one(firework.to_db_dict())
    except DuplicateKeyError:
        pad.workflows.delete_one({"nodes": [fw_id]})
        winner = find_firework(pad, spec["calculation"])
        if winner is None:
            raise
        return winner
    return fw_id


def append(pad: LaunchPad, fw_id: int, after: int) -> None:
    """Enter a Firework into the workflow of the one it waits for; idempotent.

    Args:
        pad: The queue.
        fw_id: A Firework that is in no workflow yet, or in this one.
        after: The Firework that has to complete first.

    Raises:
        ValueError: ``after`` is in no workflow.
    """
    if pad.workflows.count_documents({"nodes": {"$all": [after, fw_id]}}):
        return
    if not pad.workflows.count_documents({"nodes": after}):
        raise ValueError(f"Firework {after} is in no workflow, so that none can wait for it")
    with workflow_lock.OrphanSafeLock(pad, after):
        pad.workflows.update_one(
            {"$and": [{"nodes": after}, {"nodes": {"$ne": fw_id}}]},
            {
                "$push": {
                    "nodes": fw_id,
                    f"links.{after}": fw_id,
                    f"parent_links.{fw_id}": after,
                },
                "$set": {f"links.{fw_id}": [], f"fw_states.{fw_id}": "WAITING"},
            },
        )
    pad._refresh_wf(fw_id)  # ready at once where the other one has completed meanwhile


def take_out(pad: LaunchPad, fw_id: int) -> bool:
    """Take a Firework out of the queue, if nobody has begun with it; FireWorks keeps it.

    FireWorks' own ``defuse_fw`` would reset one that a launcher takes at this moment, and leave its
    process to compute for nobody. A launcher reserves what it takes before it makes its launch;
    only what waits in a batch system (``qlaunch --reserve``) is reserved with a launch.

    Returns:
        Whether it is out; False where it runs, has ended, or is not there.
    """
    now = datetime.now(UTC)
    waits = pad.launches.count_documents({"fw_id": fw_id, "state": "RESERVED"}) > 0
    states = [*NOT_BEGUN, *(["RESERVED"] if waits else [])]
    found = pad.fireworks.find_one_and_update(
        {"fw_id": fw_id, "state": {"$in": states}},
        {"$set": {"state": "DEFUSED", "updated_on": now}},
    )
    if found is None:
        return False
    if found["state"] == "RESERVED":  # else it would be taken for lost, and queued again
        reserved = {"fw_id": fw_id, "state": "RESERVED"}
        pad.launches.update_many(reserved, {"$set": {"state": "READY"}})
    pad._refresh_wf(fw_id)
    return True


def launch(
    session: Session,
    stop_event: threading.Event,
    *,
    home: Path | None = None,
    ping_seconds: float = _DEFAULTS.ping_seconds,
    lost_seconds: float = _DEFAULTS.lost_seconds,
    max_launches: int = _DEFAULTS.max_launches,
    max_idle_seconds: float | None = None,
    category: str | list[str] = "",
) -> int:
    """Run what the queue holds, one calculation at a time, until asked to stop.

    One launcher per process: FireWorks changes the working directory. A calculation that is running
    when the stop comes is killed and queued again.

    Args:
        session: The database connection.
        stop_event: Ends the loop.
        home: Where launch directories go; default `home_directory()`.
        ping_seconds: How often a running launch reports, s. This and the next two are only for
            calculations whose campaign did not say (`agents.verify.firetask.RunDFT`).
        lost_seconds: A launch silent for so long is taken for lost, s.
        max_launches: Launches of one calculation, lost ones included.
        max_idle_seconds: Return when the queue has been empty for so long; None: never.
        category: Run only calculations of these queues (`agents.verify.workflow.category`).

    Returns:
        How many calculations were run.
    """
    from fireworks.core import rocket

    limits: dict[str, Any] = {"lost_seconds": lost_seconds, "max_launches": max_launches}
    rocket.ROCKET_STREAM_LOGLEVEL = "CRITICAL"
    pad = launchpad(session)
    worker = FWorker(name=owner_name(), category=category)
    root = ((home or home_directory()) / "fireworks").absolute()
    private_folder(root)
    done, idle, since_recovery = 0, 0.0, RECOVER_SECONDS
    with _linked(stop_event), _working_directory(root):
        while not stop_event.is_set():
            try:
                if since_recovery >= RECOVER_SECONDS:
                    recover(pad, **limits, idle=worker.name)
                    since_recovery = 0.0
                rocket.PING_TIME_SECS = ping_seconds  # read at every ping; RunDFT may change it
                ran = _launch_next(pad, worker, root)
            except PyMongoError as error:
                if not is_away(error):
                    raise
                # What ran meanwhile left its answer in its folder; whoever launches it next finds
                # it there and computes nothing.
                log.warning("the database is away (%s): waiting for it", type(error).__name__)
                ran, since_recovery = False, RECOVER_SECONDS
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                log.warning("%s has no room for a calculation (%s): waiting", root, error.strerror)
                ran = False
            if ran:
                done += 1
                idle, since_recovery = 0.0, RECOVER_SECONDS
                continue
            if max_idle_seconds is not None and idle >= max_idle_seconds:
                break
            stop_event.wait(IDLE_SECONDS)
            idle += IDLE_SECONDS
            since_recovery += IDLE_SECONDS
        try:
            with patience(LAST_WORDS_SECONDS):
                recover(pad, **limits, idle=worker.name)
        except PyMongoError as error:  # others find what this one leaves
            if not is_away(error):
                raise
            log.warning("the database is away (%s) at the end", type(error).__name__)
    return done


def _launch_next(pad: LaunchPad, worker: FWorker, root: Path) -> bool:
    """Run one calculation in a folder of its own, if there is one; returns whether it ran."""
    from fireworks.core.rocket_launcher import launch_rocket

    if not pad.run_exists(worker):
        return False
    folder = _launch_directory(root)
    with _working_directory(folder):
        ran = bool(launch_rocket(pad, worker, strm_lvl="CRITICAL"))
    if not ran:  # another launcher took it
        folder.rmdir()
    return ran


def launch_until_stopped(session: Session, **options: Any) -> int:
    """Run `launch` in the main thread until SIGTERM or SIGINT.

    A launcher that waits for a database that is away is torn out of it: what it leaves is what a
    killed one leaves.

    Returns:
        How many calculations were run; none where it was torn out.
    """
    stop_event = threading.Event()

    def ask(*_: object) -> None:
        stop_event.set()
        signal.setitimer(signal.ITIMER_REAL, STOP_SECONDS, 1.0)

    handlers = {signal.SIGTERM: ask, signal.SIGINT: ask, signal.SIGALRM: stop.request}
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        with stop.stoppable():
            return launch(session, stop_event, **options)
    except stop.StopRequested:
        log.warning("this launcher ended without an answer of the database")
        return 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        stop.forget()
        for number, previous_handler in previous.items():
            signal.signal(number, previous_handler)


def _launch_directory(root: Path) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
    folder = root / f"launch-{stamp}-{os.getpid()}"
    folder.mkdir()
    return folder


@contextmanager
def _working_directory(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def _linked(stop_event: threading.Event) -> Iterator[None]:
    """Let the running task see the launcher's stop event."""
    before, firetask.stop = firetask.stop, stop_event
    try:
        yield
    finally:
        firetask.stop = before
