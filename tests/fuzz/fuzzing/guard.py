"""Watches what this process does while it reads outside data, by Python's audit events.

Reading a file must not start a program, open a connection, unpickle, evaluate text as a program,
or change anything outside the folder it was given. An audit hook sees all of these, also where a
library does them; it ends the reading by an exception that no parser catches, and remembers it in
case one does.
"""

from __future__ import annotations

import atexit
import os
import resource
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pty.spawn")
CONNECTIONS = ("socket.connect", "socket.bind", "socket.getaddrinfo", "urllib.Request")
CHANGES = {  # event: how many of its first arguments are paths
    **dict.fromkeys(("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod"), 1),
    **dict.fromkeys(("os.rename", "os.link", "shutil.move"), 2),
    **dict.fromkeys(("shutil.rmtree", "os.chown", "os.utime"), 1),
}
HARMLESS = ("/dev/null",)
DRIVER_THREADS = "pymongo"
"""Of the driver, which looks after the connection of another target of this process."""
OWN_EVALUATIONS = ("/inspect.py", "/typing.py", "/dataclasses.py", "/collections/__init__.py")
"""Modules of Python that evaluate texts of their own: annotations, made-up methods."""


class Violation(BaseException):
    """Reading outside data did what reading must not do."""


class TooSlow(BaseException):
    """Reading took more processor time than it may."""


class Guard:
    """One for a process: audit hooks cannot be taken out again."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self._folder: str | None = None
        self._connections = False
        self._program: str | None = None
        sys.addaudithook(self._hook)

    @contextmanager
    def watching(
        self,
        folder: Path,
        *,
        seconds: float = 10.0,
        connections: bool = False,
        program: str | None = None,
    ) -> Iterator[None]:
        """Watch while the block runs.

        Args:
            folder: The only place where something may be written.
            seconds: Most processor time (s).
            connections: Whether the target talks to a database of the test.
            program: The one program of Python that may be started.

        Raises:
            Violation: Something happened that must not, also where a parser caught it.
            TooSlow: It took too long.
        """
        self.violations.clear()
        self._connections = connections
        self._program = program
        previous = signal.signal(signal.SIGVTALRM, _end)
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
        self._folder = f"{folder.resolve()}/"
        try:
            yield
        finally:
            self._folder = None
            signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
            signal.signal(signal.SIGVTALRM, previous)
        if self.violations:
            raise Violation(self.violations[0])

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._folder is None or threading.current_thread().name.startswith(DRIVER_THREADS):
            return
        what = self._wrong(event, arguments)
        if what is not None and not _importing():
            self.violations.append(what)
            raise Violation(what)

    def _wrong(self, event: str, arguments: tuple[Any, ...]) -> str | None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & WRITING and not self._inside(path):
                return f"writes {path!r}"
        elif event in CHANGES:
            for path in arguments[: CHANGES[event]]:
                if not self._inside(path):
                    return f"{event} {path!r}"
        elif event == "os.symlink" and not self._inside(arguments[1]):
            return f"{event} {arguments[1]!r}"
        elif event == "subprocess.Popen" and self._program in arguments[1]:
            return None
        elif event in PROGRAMS or event == "pickle.find_class":
            return f"{event} {arguments!r:.200}"
        elif event in CONNECTIONS and not self._connections:
            return f"{event} {arguments[1:]!r:.200}"
        elif event == "exec" and arguments[0].co_filename.startswith("<"):
            caller = sys._getframe(2).f_code.co_filename
            if not caller.endswith(OWN_EVALUATIONS):
                return f"evaluates {arguments[0]!r:.200} in {caller}"
        return None

    def _inside(self, path: object) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):  # a descriptor: checked when opened
            return True
        assert self._folder is not None
        full = os.path.realpath(os.fsdecode(path))
        return f"{full}/".startswith(self._folder) or full in HARMLESS


def _importing() -> bool:
    """Whether a module is being imported: that compiles, evaluates and caches."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _end(*_: object) -> None:
    raise TooSlow("more processor time than allowed")


def limit_memory(extra_bytes: int) -> None:
    """Let this process have only so much more memory than it has now; ask for more: MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + extra_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def scratch() -> Path:
    """Make a folder for one run; it goes with the process."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
