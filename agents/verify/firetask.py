"""The FireTask that runs one calculation as a subprocess and never loses sight of it.

What goes wrong inside the calculation (no convergence, a timeout, a killed process) is an answer
and is stored as such; the Firework completes. Where self-consistency is not reached the process is
run again with the changes of the next rung (`agents.verify.setup.ladder`). Only a launcher that
vanishes leaves a Firework unfinished, and `agents.verify.queue.recovery` takes care of that.

A plain ``rlaunch`` or ``qlaunch`` of FireWorks runs it as well as ``discovery worker`` does.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from fireworks import FiretaskBase, FWAction
from fireworks.core import rocket
from pymongo.errors import PyMongoError

from agents.log_context import log_context
from agents.stop import StopRequested
from agents.verify.backend import DFTBackend, load_backend
from agents.verify.queue import guard, pings, workflow_lock
from agents.verify.queue.answers import LARGEST_ANSWER, parse_answer
from agents.verify.queue.launches import parent_of
from agents.verify.queue.left_behind import INPUT, OUTPUT, directories, finished_attempt
from agents.verify.queue.outputs import keep
from agents.verify.settings import VerifySettings
from agents.verify.setup.ladder import CURABLE
from db.retry import is_away

# Whatever launcher loads this module needs all three: FireWorks itself reports once an hour.
workflow_lock.install()
pings.install()
rocket.PING_TIME_SECS = VerifySettings().ping_seconds

POLL_SECONDS = 0.1
CANCEL_SECONDS = 2.0
EXIT_INTERRUPTED = 130
TAIL_BYTES = 4000
GUARD = [sys.executable, "-I", "-S", guard.__file__]
"""Starts what comes after it, and leaves nothing of it."""
GUARD_SECONDS = 6.0
"""Less than a launcher that shall end waits for its calculation (`launchpad.STOP_SECONDS`)."""
SINGLE_THREADED = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

log = logging.getLogger(__name__)

stop = threading.Event()
"""Set by a launcher that has been asked to stop; the running calculation is then given back."""


class Interrupted(RuntimeError):
    """The launcher stops before the calculation is done; it is to be run again."""

    def to_dict(self) -> dict[str, Any]:
        """Return what FireWorks stores beside the traceback."""
        return {"interrupted": True}


class RunDFT(FiretaskBase):
    """Run the calculation described in the Firework's spec, in the launch directory.

    The spec is written by `agents.verify.submission`: ``calculation``
    (`agents.verify.queue.attempts.job`), ``hash``, ``code``, ``input`` (what the runner reads),
    ``parent`` (hash of the calculation it starts from), ``ladder`` (changes of each attempt),
    ``restart`` (another task will start from it), ``timeout_seconds`` of each attempt, ``nice``,
    and the campaign's ``ping_seconds``, ``lost_seconds`` and ``max_launches``, which only this and
    `agents.verify.queue.recovery` read. The stored data are ``{"calculation", "launch_dir",
    "attempts", "outputs"}`` and ``"result"`` or ``"error": {"kind", "message", "log_tail"}``.
    """

    _fw_name = "{{agents.verify.firetask.RunDFT}}"
    _unheard = False  # whether the database did not answer when last asked

    def run_task(self, fw_spec: dict[str, Any]) -> FWAction:
        """Run it; called by the rocket.

        Raises:
            Interrupted: The launcher was asked to stop.
        """
        with log_context(calculation=fw_spec.get("hash"), firework=getattr(self, "fw_id", None)):
            try:
                return self._run(fw_spec)
            except StopRequested as error:  # FireWorks would take it for a failure of the task
                raise Interrupted("the launcher was asked to stop") from error

    def _run(self, fw_spec: dict[str, Any]) -> FWAction:
        """Run it; every line of the log names the calculation."""
        if "ping_seconds" in fw_spec:
            rocket.PING_TIME_SECS = float(fw_spec["ping_seconds"])  # read at every ping
        folder = Path.cwd()
        stored = {"calculation": fw_spec["calculation"], "launch_dir": str(folder)}
        document = dict(fw_spec["input"])
        if fw_spec.get("parent") is not None:
            found = parent_of(self.launchpad, fw_spec["parent"])  # set by FireWorks
            if "error" in found:
                return FWAction(stored_data={**stored, "attempts": [], **found})
            document["parent"] = found
        try:
            answer, attempts = climb(
                fw_spec, document, folder, self._cancelled, self._left_behind()
            )
        except SystemExit as error:  # how FireWorks' own launchers take SIGINT
            self._leave(error)
        said = "a result" if "result" in answer else f"an error ({answer['error']['kind']})"
        log.info("calculation ended with %s after %d attempts", said, len(attempts))
        last = Path(attempts[-1]["folder"])
        kept = keep(last.parent, restart=bool(fw_spec.get("restart")) and "result" in answer)
        outputs = {"folder": str(last.parent), "attempt": last.name, **kept}
        return FWAction(stored_data={**stored, "attempts": attempts, "outputs": outputs, **answer})

    def _left_behind(self) -> list[Path]:
        """Return where earlier launches ran that died before they could report."""
        if not hasattr(self, "launchpad"):
            return []
        return directories(self.launchpad, self.fw_id, Path.cwd())

    def _leave(self, error: SystemExit) -> NoReturn:
        """Give the calculation back and end the launcher: ``rapidfire`` would go on with the next.

        Raises:
            Interrupted: FireWorks did not say which launch this is.
        """
        interruption = Interrupted("the launcher was interrupted")
        if not hasattr(self, "launchpad"):
            raise interruption from error
        running = {"fw_id": self.fw_id, "state": "RUNNING"}
        launch = self.launchpad.launches.find_one(running, sort=[("launch_id", -1)])
        exception = {"_stacktrace": str(interruption), "_details": interruption.to_dict()}
        action = FWAction(stored_data={"_exception": exception}, exit=True)
        self.launchpad.complete_launch(launch["launch_id"], action, "FIZZLED")
        os._exit(EXIT_INTERRUPTED)

    def _cancelled(self) -> str | None:
        """Say why a person takes this calculation out while it runs; None where nobody does."""
        if not hasattr(self, "launchpad"):  # queued before the spec asked FireWorks for it
            return None
        try:
            found = self.launchpad.fireworks.find_one({"fw_id": self.fw_id}, {"spec.cancelled": 1})
        except PyMongoError as error:
            if not is_away(error):
                raise
            if not self._unheard:  # nobody can ask either; what it computes is paid for
                log.warning("the database is away (%s): computing on", type(error).__name__)
            self._unheard = True
            return None
        self._unheard = False
        return (found or {}).get("spec", {}).get("cancelled")


def climb(
    spec: dict[str, Any],
    document: dict[str, Any],
    folder: Path,
    cancelled: Callable[[], str | None] = lambda: None,
    earlier: Sequence[Path] = (),
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run a calculation, and where it does not converge with the changes of the next rung.

    Args:
        spec: ``code``, ``timeout_seconds``, ``nice`` and, for more than one attempt, ``ladder``.
        document: What the runner reads, but for ``changes``.
        folder: Each attempt gets a folder of its own in it, ``attempt-1`` and so on.
        cancelled: Asked now and then; the reason why it is to be stopped, or None.
        earlier: Launch directories in which an attempt may be finished already
            (`agents.verify.queue.left_behind`).

    Returns:
        The last attempt's answer, a result with its ``changes``; and all attempts, with the time
        each one took.

    Raises:
        Interrupted: `stop` was set.
    """
    backend = load_backend(spec["code"])
    attempts: list[dict[str, Any]] = []
    answer: dict[str, Any] = {}
    for number, changes in enumerate(spec.get("ladder") or [{}], start=1):
        name, asked = f"attempt-{number}", {**document, "changes": changes}
        taken_over = finished_attempt(list(earlier), name, asked)
        if taken_over is not None:
            answer, spent = taken_over
        else:
            answer, spent = _attempt(backend, spec, asked, folder / name, cancelled)
        error = answer.get("error")
        attempts.append(
            {
                "changes": changes,
                "error": error and {key: error[key] for key in ("kind", "message")},
                "timeout_seconds": float(spec["timeout_seconds"]),
                **spent,
                "core_seconds": spent["wall_seconds"] * backend.cores,
            }
        )
        if error is None:
            answer["result"]["changes"] = changes
        if error is None or error["kind"] not in CURABLE:
            break
    return answer, attempts


def _attempt(
    backend: DFTBackend[Any],
    spec: dict[str, Any],
    asked: dict[str, Any],
    place: Path,
    cancelled: Callable[[], str | None],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run one attempt in a folder of its own; return its answer, and what it took."""
    place.mkdir()
    source, target = place / INPUT, place / OUTPUT
    source.write_text(json.dumps(asked))
    started, cpu = time.monotonic(), _cpu_of_children()
    answer = run_process(
        backend.command(source, target),
        place,
        target,
        timeout=float(spec["timeout_seconds"]),
        nice=int(spec["nice"]),
        cancelled=cancelled,
    )
    wall = time.monotonic() - started
    return answer, {
        "folder": str(place),
        "wall_seconds": wall,
        "cpu_seconds": _cpu_of_children() - cpu,
    }


def _cpu_of_children() -> float:
    """Return the processor time of all ended children, s; a launcher runs one at a time."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_process(
    command: list[str],
    folder: Path,
    target: Path,
    *,
    timeout: float,
    nice: int,
    cancelled: Callable[[], str | None] = lambda: None,
) -> dict[str, Any]:
    """Run a command in a session of its own until it ends, times out or is interrupted.

    It runs under a guard (`agents.verify.queue.guard`): when this process dies, and at the end of
    this function, nothing that it started is left.

    Args:
        command: Program and arguments.
        folder: Working directory; ``stdout.log`` goes there.
        target: The JSON file the command writes.
        timeout: Wall-clock limit, s.
        nice: Niceness added.
        cancelled: Asked every `CANCEL_SECONDS`; the reason why it is to be stopped, or None.

    Returns:
        What ``target`` holds, or ``{"error": {...}}``.

    Raises:
        Interrupted: `stop` was set.
    """
    environment = os.environ | dict.fromkeys(SINGLE_THREADED, "1")
    started = asked = time.monotonic()
    with (folder / "stdout.log").open("wb") as log:
        process = subprocess.Popen(
            [*GUARD, str(os.getpid()), *command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=partial(os.nice, nice),
        )
        try:
            while process.poll() is None:
                if stop.is_set():
                    raise Interrupted("the launcher was asked to stop")
                if time.monotonic() - started > timeout:
                    return _error("timeout", f"no result within {timeout:g} s", folder)
                if time.monotonic() - asked > CANCEL_SECONDS:
                    asked, reason = time.monotonic(), cancelled()
                    if reason is not None:
                        return _error("defused", reason, folder)
                time.sleep(POLL_SECONDS)
        finally:
            _end(process)
    if target.is_file():
        return read_answer(target, folder)
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        return _error("killed", f"the process was killed by {name}", folder)
    return _error("crashed", f"the process ended with code {process.returncode}", folder)


def read_answer(target: Path, folder: Path) -> dict[str, Any]:
    """Read what a runner wrote; whatever it is, the answer can be stored.

    Args:
        target: The JSON file.
        folder: Where the calculation ran, for the log.

    Returns:
        ``{"result": {...}}`` or ``{"error": {"kind", "message", "log_tail"}}``; an error of the
        kind ``output`` where the file holds neither.
    """
    try:
        with target.open("rb") as stream:
            return parse_answer(stream.read(LARGEST_ANSWER + 1), target.name)
    except (ValueError, OSError, RecursionError) as error:
        return _error("output", f"{target.name} is no answer of a runner: {error!s:.300}", folder)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Have the guard kill whatever is left; kill the group itself if the guard cannot."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(GUARD_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _error(kind: str, message: str, folder: Path) -> dict[str, Any]:
    return {"error": {"kind": kind, "message": message, "log_tail": _log_tail(folder)}}


def _log_tail(folder: Path) -> str:
    logs = [path for pattern in ("*.txt", "*.log") for path in folder.glob(pattern)]
    logs = [path for path in logs if path.stat().st_size]
    if not logs:
        return ""
    newest = max(logs, key=lambda path: path.stat().st_mtime)
    return newest.read_bytes()[-TAIL_BYTES:].decode(errors="replace")
