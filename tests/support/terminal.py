"""A terminal that remembers what it showed: a command behind a pseudo-terminal, drawn by pyte."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyte

_OF_TERMINALS = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR")
_OF_PLACES = ("MONGODB_URI", "DISCOVERY_HOME", "DISCOVERY_BROKER")


@dataclass(frozen=True)
class Recording:
    """What a terminal showed.

    Attributes:
        frames: Its lines without blanks at their ends, each time they changed.
        last: The lines at the end, those that scrolled away first, empty ones left out.
        text: Everything that was sent, with its control sequences.
        code: The command's exit code.
    """

    frames: tuple[tuple[str, ...], ...]
    last: list[str]
    text: str
    code: int


def record(
    command: Sequence[str],
    *,
    columns: int = 80,
    rows: int = 24,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    keys: Sequence[tuple[str, str]] = (),
    seconds: float = 120.0,
) -> Recording:
    """Run a command in a terminal of its own and look at it.

    Args:
        command: Program and arguments; "python" is this one.
        columns: Width.
        rows: Height.
        folder: Working directory.
        environment: Variables beside this process's; of those that name a database, a broker or
            a home, only these.
        keys: What to type, each when a text has appeared on the screen: (text, keys).
        seconds: The command is killed after so long.

    Raises:
        TimeoutError: It did not end.
    """
    program = sys.executable if command[0] == "python" else command[0]
    # Given as a whole: readline writes COLUMNS where os.environ does not see it.
    ours = (*_OF_TERMINALS, *_OF_PLACES)
    own = {key: value for key, value in os.environ.items() if key not in ours}
    variables = {**own, "TERM": "xterm-256color", **(environment or {})}
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder or ".")
        os.execvpe(program, [program, *command[1:]], variables)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    screen = pyte.HistoryScreen(columns, rows, history=10_000)
    stream = pyte.ByteStream(screen)
    sent, frames, waiting = bytearray(), [], list(keys)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 1.0)[0]:
            continue
        try:
            part = os.read(terminal, 65536)
        except OSError:  # the command has closed its end
            part = b""
        if not part:
            break
        sent += part
        stream.feed(part)
        frame = tuple(line.rstrip() for line in screen.display)
        if not frames or frames[-1] != frame:
            frames.append(frame)
        if waiting and waiting[0][0] in "\n".join(frame):
            os.write(terminal, waiting.pop(0)[1].encode())
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
        raise TimeoutError(f"{command} did not end: {sent[-2000:].decode(errors='replace')}")
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(terminal)
    scrolled = ["".join(line[i].data for i in range(columns)) for line in screen.history.top]
    lines = [line.rstrip() for line in (*scrolled, *screen.display)]
    return Recording(tuple(frames), [line for line in lines if line], sent.decode(), code)
