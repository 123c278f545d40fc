"""Bad inputs made of good ones."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

#: What breaks parsers: numbers at the edges of their types, nesting, ends, other encodings.
TRICKS: tuple[bytes, ...] = (
    *(b"nan", b"inf", b"-inf", b"1e999", b"-1", b"0", b"1e-320", b"9" * 30, b"2147483648"),
    *(b"9223372036854775808", b"-9223372036854775809", b"1_000", b"0x10", b"1e", b"--1"),
    *(b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3\x28", b"\n", b"\r", b"\t", b"\x1a"),
    *(b"\xed\xa0\x80", "\u202e".encode(), "µ∞²".encode(), "１２".encode()),
    *(b"(" * 200, b"[" * 2000, b"{" * 2000, b'"', b"'", b"`", b"\\", b"%s", b"{0}", b"$where"),
    *(b"../../../../tmp/x", b"/etc/passwd", b"~", b"|id", b"$(id)", b"!!python/object:os.system"),
    *(b'{"@module": "os", "@class": "system"}', b"__import__('os')", b"null", b"true", b"{}"),
)


def mutate(data: bytes, random: Random, tokens: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    """Change an input in a few places.

    Args:
        data: A good input.
        random: Decides.
        tokens: Pieces of its language.
        others: More good inputs, to take pieces of.
    """
    content = bytearray(data)
    for _ in range(1 + min(int(random.expovariate(0.5)), 12)):
        _change(content, random, tokens, others)
    return bytes(content)


def _change(
    content: bytearray, random: Random, tokens: Sequence[bytes], others: Sequence[bytes]
) -> None:
    place = random.randrange(len(content) + 1)
    length = min(1 << random.randrange(0, 8), len(content) - place)
    what = random.randrange(9)
    if what == 0 and content:
        content[place % len(content)] ^= 1 << random.randrange(8)
    elif what == 1 and content:
        content[place % len(content)] = random.randrange(256)
    elif what == 2:
        del content[place : place + length]
    elif what == 3:
        content[place:place] = content[place : place + length]
    elif what == 4:
        content[place : place + random.choice((0, length))] = random.choice(TRICKS)
    elif what == 5:
        content[place : place + random.choice((0, length))] = random.choice(tokens or TRICKS)
    elif what == 6:
        other = random.choice(others)
        start = random.randrange(len(other) + 1)
        content[place : place + length] = other[start : start + length]
    elif what == 7:
        _replace_number(content, random)
    else:
        del content[place:]


def _replace_number(content: bytearray, random: Random) -> None:
    """Replace one of the numbers in a text."""
    start = random.randrange(len(content) + 1)
    while start < len(content) and not 48 <= content[start] <= 57:
        start += 1
    end = start
    while end < len(content) and (48 <= content[end] <= 57 or content[end] in b".eE+-"):
        end += 1
    content[start:end] = random.choice(TRICKS[:15])
