"""Starts processes of the product within milliseconds: one process imports everything, then forks.

Importing torch, pymatgen and the product takes seconds of processor time, which a test that kills
a hundred processes cannot pay a hundred times. This process imports them once; each line on its
standard input asks for a fork, which becomes a process of its own: a session, a working directory,
an environment, a log, and then `discovery.cli.main` with the arguments given, like any other
command. Nothing of the product runs before the fork, and no thread does.

Requests and answers are JSON lines: ``{"argv", "environment", "folder", "log"}`` gives ``{"pid"}``;
``{"wait": pid}`` gives ``{"code"}``, None while it runs, minus the signal that ended it.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import json
import os
import signal
import sys
import traceback
from typing import Any, NoReturn

WARM = (
    *("torch", "celery.apps.worker", "celery.concurrency.prefork", "fireworks", "kombu"),
    *("kombu.transport.filesystem", "ase", "pymatgen.analysis.structure_matcher", "smact"),
    *("discovery.cli", "discovery.campaign.launch", "discovery.campaign.resolution"),
    *("discovery.reports.status", "discovery.reports.live_view", "discovery.workers.runtime"),
    *("agents.propose.episodes", "agents.relax.stage", "agents.relax.gate", "agents.screen.stage"),
    *("agents.screen.models", "agents.verify.agent", "agents.verify.queue.launchpad"),
    *("agents.learn.event", "model.generator", "gridfs"),
)
"""Imported before the first fork; the Celery application reads the environment and is not."""
PR_SET_PDEATHSIG = 1


def warm_up(generator: str) -> None:
    """Import everything, and keep the generator that was read once."""
    for name in WARM:
        importlib.import_module(name)
    from model.generator import Generator

    Generator.load = functools.lru_cache(Generator.load)  # type: ignore[method-assign]
    Generator.load(generator)
    from pymatgen.core import Element

    for element in Element:  # its table is read at first use
        element.data  # noqa: B018


def become(request: dict[str, Any]) -> NoReturn:
    """Turn this fork into the process that was asked for; never returns."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv = ["discovery", *request["argv"]]
    from discovery.cli import main

    code = 1
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - this process ends here, and says why
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    """Answer requests until standard input ends; what was started dies then."""
    ended: dict[int, int] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            pid = int(request["wait"])
            if pid not in ended:
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    ended[pid] = os.waitstatus_to_exitcode(status)
            answer = {"code": ended.get(pid)}
        else:
            pid = os.fork()
            if pid == 0:
                become(request)
            answer = {"pid": pid}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    warm_up(sys.argv[1])
    print(json.dumps({"ready": os.getpid()}), flush=True)
    serve()
