"""The repository's pages for people: their blocks of code and what they mention."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

REPOSITORY = Path(__file__).parents[2]
SHELL = ("sh", "bash", "console")


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        page: Path from the root of the repository.
        line: Of its first line, from 1.
        language: What stands behind the fence; "" where nothing does; None where it has no fence
            and is code by its indent alone.
        text: Its lines.
    """

    page: str
    line: int
    language: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class CommandLine:
    """A command that a page shows.

    Attributes:
        where: Page, line and text.
        words: As a shell would split it.
        complete: It is meant to be typed; else a sentence only mentions it, maybe in part.
    """

    where: str
    words: tuple[str, ...]
    complete: bool


def pages() -> list[Path]:
    """Return every page: those of docs/, and those beside it."""
    beside = [REPOSITORY / name for name in ("README.md", "SECURITY.md")]
    return [*beside, *sorted((REPOSITORY / "docs").rglob("*.md"))]


def blocks(*languages: str) -> list[Block]:
    """Return the blocks of all pages in these languages; without one, all blocks."""
    return [
        block
        for page in pages()
        for block in _blocks(page)
        if not languages or block.language in languages
    ]


def mentions() -> Iterator[tuple[str, str]]:
    """Yield what sentences and tables set as code: page and line, and the text."""
    for page in pages():
        for token in _tokens(page):
            for child in token.children or ():
                if child.type == "code_inline":
                    line = token.map[0] + 1 if token.map else 0
                    yield f"{_name(page)}:{line}", " ".join(child.content.split())


def command_lines(program: str) -> list[CommandLine]:
    """Return the command lines of all pages that start with a program, also within a pipe."""
    found = []
    for block in blocks(*SHELL):
        for line in re.sub(r"\\\n\s*", " ", block.text).splitlines():
            for words in _commands(line):
                if words[0] == program:
                    found.append(CommandLine(f"{block} {line.strip()}", words, complete=True))
    for where, text in mentions():
        if text.split()[0] == program:
            words = tuple(shlex.split(_without_brackets(text)))
            found.append(CommandLine(f"{where} {text}", words, complete=False))
    return found


def _name(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


@cache
def _tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text())


def _blocks(page: Path) -> Iterator[Block]:
    for token in _tokens(page):
        line = token.map[0] + 1 if token.map else 0
        if token.type == "fence":
            yield Block(_name(page), line + 1, token.info.strip().split(" ")[0], token.content)
        elif token.type == "code_block":
            yield Block(_name(page), line, None, token.content)


def _commands(line: str) -> Iterator[tuple[str, ...]]:
    """Split a line of a shell into its commands, without variables, and files to read or write."""
    lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    names_file = False
    for word in [*lexer, ";"]:
        if names_file or not word.strip("<>"):
            names_file = not names_file
        elif word.strip("|&;"):
            if words or not re.fullmatch(r"[A-Z_]+=.*|exec", word):
                words.append(word)
        elif words:
            yield tuple(words)
            words = []


def _without_brackets(text: str) -> str:
    """Take the brackets off of what is optional, and one of two alternatives."""
    return re.sub(r"(?<=\w)\|\w+", "", re.sub(r"\[(-[^]]*|[A-Z]+)\]", r"\1", text))
