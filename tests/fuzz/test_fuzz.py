"""Bad input of every kind: refused in one sentence, with nothing else done. Short, fixed seeds."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from random import Random

import pytest
from fuzzing import all_targets
from fuzzing.guard import Guard, TooSlow, Violation
from fuzzing.mutation import mutate
from fuzzing.target import Answer, Target, attempt

CORPUS = Path(__file__).parent / "corpus"
INPUTS = {"command-line": 12, "generator-card": 4, "alignn-card": 6, "vasprun": 30, "cif": 30}
USUAL = 60
SEED = 2026


@cache
def guard() -> Guard:
    """The one of this process; audit hooks stay for ever, and this one sleeps between targets."""
    return Guard()


def tried(target: Target, data: bytes, folder: Path) -> Answer:
    """Read one input; a crash fails the test with what happened."""
    found = attempt(target, data, guard(), folder)
    assert found.answer is not Answer.CRASH, f"{data!r:.300}\n{found.where}\n{found.text}"
    return found.answer


@pytest.mark.parametrize("name", all_targets())
def test_bad_input_is_refused(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    target, random = all_targets()[name], Random(SEED)
    if target.connections:
        request.getfixturevalue("mongo_session")
    seeds = list(target.seeds())
    attempt(target, seeds[0], guard(), tmp_path / "imports")  # modules write and run when imported
    assert tried(target, seeds[0], tmp_path / "good") is Answer.READ
    answers: Counter[Answer] = Counter()
    for _ in range(INPUTS.get(name, USUAL)):
        data = mutate(random.choice(seeds), random, target.tokens, seeds)
        answers[tried(target, data[: target.largest], tmp_path / "one")] += 1
    if target.refusals:
        assert answers[Answer.REFUSED]  # else nothing bad was tried


@pytest.mark.parametrize(
    "path", sorted(CORPUS.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}"
)
def test_what_once_was_a_crash_stays_mended(path: Path, tmp_path: Path) -> None:
    target = all_targets()[path.parent.name]
    attempt(target, next(iter(target.seeds())), guard(), tmp_path / "imports")
    tried(target, path.read_bytes(), tmp_path / "one")


def does(what: str) -> Target:
    """A target that does what must not be done."""

    def read(data: bytes, folder: Path) -> object:
        import os
        import pickle
        import socket
        import subprocess

        outside = folder.parent / "outside"
        if what == "writes":
            outside.write_text("x")
        elif what == "links":
            (folder / "link").symlink_to(outside)
            (folder / "link").write_text("x")
        elif what == "starts":
            subprocess.run(["true"], check=True)
        elif what == "shell":
            os.system("true")
        elif what == "unpickles":
            pickle.loads(b"cos\ngetpid\n.")  # noqa: S301, this is what is looked for
        elif what == "evaluates":
            eval("1 + 1")
        elif what == "connects":
            socket.create_connection(("127.0.0.1", 9), timeout=1)
        elif what == "swallows":
            try:
                outside.write_text("x")
            except BaseException:  # noqa: BLE001, as parsers do
                return None
        elif what == "loops":
            while True:
                pass
        return None

    return Target("test", lambda: [b""], read, (ValueError,), seconds=0.2)


@pytest.mark.parametrize(
    ("what", "error"),
    [
        *((one, Violation) for one in ("writes", "links", "starts", "shell", "unpickles")),
        *((one, Violation) for one in ("evaluates", "connects", "swallows")),
        ("loops", TooSlow),
    ],
)
def test_the_guard_sees_it(what: str, error: type[BaseException], tmp_path: Path) -> None:
    found = attempt(does(what), b"", guard(), tmp_path / "in")
    assert found.answer is Answer.CRASH
    assert found.where.startswith(error.__name__)
    assert not (tmp_path / "outside").exists()
