"""Help that helps: every command in a panel, with an example that the command line understands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from discovery.cli import app
from discovery.cli.panels import PANELS

ROOT: Any = get_command(app)


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the names of all commands, of groups and what is in them."""
    for name, one in group.commands.items():
        yield (*path, name)
        if hasattr(one, "commands"):
            yield from commands(one, (*path, name))


def find(path: tuple[str, ...]) -> Any:
    found = ROOT
    for name in path:
        found = found.commands[name]
    return found


ALL = list(commands(ROOT))
SINGLE = [path for path in ALL if not hasattr(find(path), "commands")]


def test_every_command_has_a_panel() -> None:
    panels = {name: one.rich_help_panel for name, one in ROOT.commands.items()}
    assert panels == {name: title for title, names in PANELS.items() for name in names}
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "100"}).stdout
    places = [shown.index(f"─ {title} ─") for title in PANELS]
    assert places == sorted(places)
    assert "Exit codes: 0 done, 1 failed, 2 wrong use" in " ".join(shown.split())


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_says_what_every_option_is(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "120"})
    assert shown.exit_code == 0
    for parameter in find(path).params:
        assert parameter.help, f"{parameter.name} has no help"
        for option in parameter.opts:
            assert option.lstrip("-") in shown.stdout


@pytest.mark.parametrize("path", SINGLE, ids=" ".join)
def test_every_command_has_an_example_that_is_understood(path: tuple[str, ...]) -> None:
    quoted = re.findall(r"`discovery ([^`]+)`", find(path).help)
    examples = [words for words in map(shlex.split, quoted) if tuple(words[: len(path)]) == path]
    assert examples
    for words in examples:
        # Parsed with every check of values, and not run.
        find(path).make_context(path[-1], words[len(path) :])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["statsu"], "Did you mean 'status'?"),
        (["modls", "list"], "Did you mean 'models'?"),
        (["data", "improt"], "Did you mean 'import'?"),
        (["run", "--campain", "quickstart"], "--campaign"),
        (["status", "--jsn"], "--json"),
        (["query", "x", "--format", "tabel"], "'table'"),
    ],
)
def test_what_is_mistyped_is_suggested(words: list[str], sentence: str) -> None:
    ended = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert ended.exit_code == 2
    assert sentence in ended.output
