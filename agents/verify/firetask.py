"""The FireTask that runs one calculation as a subprocess and never loses sight of it.

What goes wrong inside the calculation (no convergence, a timeout, a killed process) is an answer
and is stored as such; the Firework completes. Only a launcher that vanishes leaves a Firework
unfinished, and `agents.verify.launchpad.recover` takes care of that.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from fireworks import FiretaskBase, FWAction
from fireworks.core import rocket

from agents.verify.backend import load_backend

POLL_SECONDS = 0.1
TAIL_BYTES = 4000
PR_SET_PDEATHSIG = 1
SINGLE_THREADED = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_libc = ctypes.CDLL(None, use_errno=True)

stop = threading.Event()
"""Set by a launcher that has been asked to stop; the running calculation is then given back."""


class Interrupted(RuntimeError):
    """The launcher stops before the calculation is done; it is to be run again."""

    def to_dict(self) -> dict[str, Any]:
        """Return what FireWorks stores beside the traceback."""
        return {"interrupted": True}


class RunDFT(FiretaskBase):
    """Run the calculation described in the Firework's spec, in the launch directory.

    The spec holds ``calculation`` (`agents.verify.attempts.job`), ``code``, ``input`` (what the
    runner reads), ``timeout_seconds`` and ``nice``, and the campaign's ``ping_seconds``,
    ``lost_seconds`` and ``max_launches``, which only this and `agents.verify.recovery` read. The
    stored data are
    ``{"calculation", "result"}`` or ``{"calculation", "error": {"kind", "message", "log_tail"}}``.
    """

    _fw_name = "{{agents.verify.firetask.RunDFT}}"

    def run_task(self, fw_spec: dict[str, Any]) -> FWAction:
        """Run it; called by the rocket.

        Raises:
            Interrupted: The launcher was asked to stop.
        """
        if "ping_seconds" in fw_spec:
            rocket.PING_TIME_SECS = float(fw_spec["ping_seconds"])  # read at every ping
        folder = Path.cwd()
        source, target = folder / "input.json", folder / "output.json"
        source.write_text(json.dumps(fw_spec["input"]))
        target.unlink(missing_ok=True)
        answer = run_process(
            load_backend(fw_spec["code"]).command(source, target),
            folder,
            target,
            timeout=float(fw_spec["timeout_seconds"]),
            nice=int(fw_spec["nice"]),
        )
        stored = {"calculation": fw_spec["calculation"], "launch_dir": str(folder), **answer}
        return FWAction(stored_data=stored)


def run_process(
    command: list[str], folder: Path, target: Path, *, timeout: float, nice: int
) -> dict[str, Any]:
    """Run a command in a session of its own until it ends, times out or is interrupted.

    It dies with this thread (PR_SET_PDEATHSIG), and at the end of this function nothing of its
    process group is left.

    Args:
        command: Program and arguments.
        folder: Working directory; ``stdout.log`` goes there.
        target: The JSON file the command writes.
        timeout: Wall-clock limit, s.
        nice: Niceness added.

    Returns:
        What ``target`` holds, or ``{"error": {...}}``.

    Raises:
        Interrupted: `stop` was set.
    """
    environment = os.environ | dict.fromkeys(SINGLE_THREADED, "1")
    started = time.monotonic()
    with (folder / "stdout.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_before_exec(os.getpid(), nice),
        )
        try:
            while process.poll() is None:
                if stop.is_set():
                    raise Interrupted("the launcher was asked to stop")
                if time.monotonic() - started > timeout:
                    return _error("timeout", f"no result within {timeout:g} s", folder)
                time.sleep(POLL_SECONDS)
        finally:
            _kill_group(process)
    if target.is_file():
        answer: dict[str, Any] = json.loads(target.read_text())
        return answer
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        return _error("killed", f"the process was killed by {name}", folder)
    return _error("crashed", f"the process ended with code {process.returncode}", folder)


def _before_exec(parent: int, nice: int) -> Callable[[], None]:
    def prepare() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died before the line above
            os._exit(1)
        os.nice(nice)

    return prepare


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
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
