"""What is fuzzed, and what counts as a crash."""

from __future__ import annotations

import shutil
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from fuzzing.guard import Guard

LONGEST_REFUSAL = 4_000
"""Characters of a refusal: a sentence, not the input said back."""


class Answer(StrEnum):
    """What became of one input."""

    READ = "read"
    REFUSED = "refused"
    CRASH = "crash"


@dataclass(frozen=True)
class Target:
    """One way by which outside data come in.

    Attributes:
        name: Of the target, and of its folder in the corpus.
        seeds: Makes good inputs to start from.
        read: Reads one input; gets a fresh folder, the only place where it may write.
        refusals: Exceptions by which a bad input is refused, as documented.
        tokens: Pieces of its language.
        packages: What is instrumented for coverage.
        seconds: Most processor time of one input (s).
        weight: Share of inputs in the long run.
        connections: Whether it needs the database of the tests.
        program: The one program that it may start: a reader with limits of its own.
        largest: Longest input (bytes).
    """

    name: str
    seeds: Callable[[], Sequence[bytes]]
    read: Callable[[bytes, Path], object]
    refusals: tuple[type[BaseException], ...]
    tokens: tuple[bytes, ...] = ()
    packages: tuple[str, ...] = ()
    seconds: float = 10.0
    weight: float = 1.0
    connections: bool = False
    program: str | None = None
    largest: int = 1 << 16


class Refused(Exception):
    """A target that is no file reader says no: a server, a worker."""


def saved(data: bytes, folder: Path, name: str) -> Path:
    """Write an input to a file of this name, for those who read files."""
    path = folder / name
    path.write_bytes(data)
    return path


@dataclass(frozen=True)
class Tried:
    """One input that was tried.

    Attributes:
        answer: What became of it.
        where: Of a crash, the exception and our line; the same for the same fault.
        text: Of a refusal or crash, its text.
    """

    answer: Answer
    where: str = ""
    text: str = ""


def attempt(target: Target, data: bytes, guard: Guard, folder: Path) -> Tried:
    """Read one input under the guard.

    Args:
        target: Who reads it.
        data: The input.
        guard: Of this process.
        folder: Made for it, and removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            limits = {"seconds": target.seconds, "connections": target.connections}
            with guard.watching(folder, program=target.program, **limits):
                target.read(data, folder)
    except target.refusals as error:
        text = str(error)
        if not text.strip() or len(text) > LONGEST_REFUSAL:
            where = f"refusal of {len(text)} characters: {type(error).__name__}"
            return Tried(Answer.CRASH, where, text[:500])
        return Tried(Answer.REFUSED, text=text)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001, whatever it is, it is the finding
        return Tried(Answer.CRASH, _place(error), "".join(traceback.format_exception(error)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Tried(Answer.READ)


def _place(error: BaseException) -> str:
    """Name a fault by its exception and the last line of ours, and the last of all."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if "/site-packages/" not in frame.filename and "/fuzz" not in frame.filename
    ]
    chosen = own[-1:] + frames[-1:]
    places = " <- ".join(f"{Path(one.filename).name}:{one.lineno}" for one in chosen)
    return f"{type(error).__name__} {places}"
