"""Runs a command and answers for everything that it starts: ``python -I -S guard.py PARENT CMD...``

A DFT code is rarely one process: ``mpirun`` starts ranks, some in sessions of their own. When the
launcher is killed, the kernel can end the process that it started, but not those below, and ranks
without a master burn their cores for ever. This small process stands between the two. Every orphan
below it becomes its child (PR_SET_CHILD_SUBREAPER), so that nothing escapes by a session or a group
of its own; when the command ends, or its parent dies, or it is asked to (SIGTERM), it kills all of
them and ends as the command did.

It imports nothing of this project and starts in a few milliseconds.
"""

import ctypes
import os
import signal
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
NOT_FOUND = 127
PAUSE_SECONDS = 0.05
"""Between two looks at all processes of the machine; one in the kernel dies only when it is out."""
WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


def run(parent: int, command: list[str]) -> int:
    """Run a command until it ends, its parent dies, or it is asked to stop.

    Args:
        parent: The process that dies with nobody to take care of the command.
        command: Program and arguments.

    Returns:
        Exit code of the command, minus the signal that ended it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before the request
        return 1
    child = os.fork()
    if child == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        _become(command)
    code = -signal.SIGKILL
    while True:
        if signal.sigwait(WATCHED) != signal.SIGCHLD:
            break
        ended = _reap()
        if child in ended:
            code = ended[child]
            break
    end_descendants()
    return code


def end_descendants() -> None:
    """Kill everything below this process, and wait until it is gone."""
    while below := descendants(os.getpid()):
        for process in below:
            _kill(process)
        _reap()
        time.sleep(PAUSE_SECONDS)


def descendants(process: int) -> list[int]:
    """Return the living processes below one."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as stream:
                    fields = stream.read().rpartition(")")[2].split()
            except OSError:  # it ended meanwhile
                continue
            if fields[0] not in "ZX":
                parents[int(name)] = int(fields[1])
    found: list[int] = []
    frontier = {process}
    while frontier:
        frontier = {child for child, parent in parents.items() if parent in frontier}
        found += sorted(frontier)
    return found


def _become(command: list[str]) -> None:
    """Turn this fork into the command."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)
    finally:
        os._exit(NOT_FOUND)


def _reap() -> dict[int, int]:
    """Collect every child that ended, with its exit code."""
    ended: dict[int, int] = {}
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if process == 0:
            return ended
        ended[process] = os.waitstatus_to_exitcode(status)


def _kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return


def main() -> None:
    """Run the command of the command line, and end as it did."""
    code = run(int(sys.argv[1]), sys.argv[2:])
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main()
