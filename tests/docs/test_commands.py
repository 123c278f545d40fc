"""Every command that a page shows exists, with these options."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import typer.main
from documents import REPOSITORY, command_lines

from discovery.cli import app

REFUSED = r"No such|Missing|valid integer|is not one of"
#: What stands for a value of another kind than text.
NUMBERS = {"N": "1", "M": "1", "K": "1", "…": "1"}


@cache
def command_line() -> Any:
    """Return the real command line; making it takes a while."""
    return typer.main.get_command(app)


def check(words: Sequence[str], *, complete: bool) -> None:
    """Let the real command line read the words, without doing anything.

    Raises:
        Exception: As the command line itself raises, for an unknown command or option, a value
            that does not fit, or, of a complete line, something that is missing.
    """
    command, context, left = command_line(), None, list(words[1:])
    while hasattr(command, "resolve_command"):
        context = command.context_class(command, info_name=words[0], parent=context)
        if not left:
            return  # the page speaks of all commands of a group
        _, command, left = command.resolve_command(context, left)
    left = [NUMBERS.get(word, word) for word in left if word not in ("...", "--help")]
    if complete:
        command.make_context(words[0], left, parent=context)
    else:
        bare = command.context_class(command, info_name=words[0], parent=context)
        command.make_parser(bare).parse_args(_with_value(left, command))


def _with_value(words: list[str], command: Any) -> list[str]:
    """Complete words of which the last is an option that the sentence gives no value."""
    valued = {
        name for one in command.params if not getattr(one, "is_flag", True) for name in one.opts
    }
    return [*words, "VALUE"] if words and words[-1] in valued else words


def test_commands_of_the_pages_are_understood() -> None:
    stale = []
    lines = command_lines("discovery")
    for line in lines:
        try:
            check(line.words, complete=line.complete)
        except Exception as error:  # noqa: BLE001 - the command line's own, of several classes
            stale.append(f"{line.where}: {error}")
    assert len(lines) > 100
    assert stale == []


@pytest.mark.parametrize(
    "words",
    [
        "discovery sttus quickstart",
        "discovery status --funnel",
        "discovery dft lst",
        "discovery run",
        "discovery run --campaign x --max-candidates many",
        "discovery query --format word",
    ],
)
def test_stale_commands_are_noticed(words: str) -> None:
    with pytest.raises(Exception, match=REFUSED):
        check(words.split(), complete=True)


def test_mentions_are_read_for_options_too() -> None:
    check(["discovery", "worker", "--queue"], complete=False)
    with pytest.raises(Exception, match="No such option"):
        check(["discovery", "worker", "--queues", "relax"], complete=False)


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (REPOSITORY / "Makefile").read_text(), re.M))
    wanted = {word for line in command_lines("make") for word in line.words[1:] if "=" not in word}
    assert wanted
    assert wanted - targets == set()


def test_scripts_and_their_options_exist() -> None:
    lines = [line for line in command_lines("python") if line.words[1:2] and line.complete]
    missing = []
    for line in lines:
        script, options = line.words[1], [w for w in line.words[2:] if w.startswith("--")]
        if not script.endswith(".py"):
            continue
        path = REPOSITORY / script
        source = path.read_text() if path.is_file() else ""
        missing += [line.where] * (not source)
        missing += [
            f"{line.where}: {one}" for one in options if f'"{one.split("=")[0]}"' not in source
        ]
    assert lines
    assert missing == []
