"""Answers to shells that ask how a word at the cursor goes on.

Typer answers them all; only its answer to bash is mended here. Bash cuts words at ``=`` and ``:``
(its ``COMP_WORDBREAKS``) and replaces only what follows the last of them, so ``--set
verify.preset=fa`` comes as three words, and what goes back must be ``fast`` alone.
"""

from __future__ import annotations

import os

import typer
from typer._click.shell_completion import CompletionItem, add_completion_class
from typer._completion_classes import BashComplete
from typer.main import get_command

VARIABLE = "_DISCOVERY_COMPLETE"
"""Set by the shells' scripts when they ask."""
BREAKS = "=:"


class WholeWords(BashComplete):
    """Puts together what bash cut, and gives back the end alone."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor, and the one at it."""
        args, incomplete = super().get_completion_args()
        words: list[str] = []
        joined = False
        for word in [*args, incomplete]:
            is_break = bool(word) and not word.strip(BREAKS)
            if words and (joined or is_break):
                words[-1] += word
            else:
                words.append(word)
            joined = is_break
        self._before = words[-1][: max(map(words[-1].rfind, BREAKS)) + 1]
        return words[:-1], words[-1]

    def format_completion(self, item: CompletionItem) -> str:
        """Leave out what bash keeps."""
        return str(item.value).removeprefix(self._before)


def answer(app: typer.Typer) -> None:
    """Answer a shell that asks, and end; return where none asks."""
    if VARIABLE in os.environ:
        command = get_command(app)  # this makes Typer's own answers known
        add_completion_class(WholeWords, "bash")
        command(prog_name="discovery")
