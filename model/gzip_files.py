"""Gzip from outside, unpacked up to a limit: a few kilobytes can hold gigabytes of zeros."""

from __future__ import annotations

import zlib

LARGEST_BYTES = 2 << 30
"""Unpacked; the largest tables of crystals have some hundred MiB."""
WINDOW = 16 + zlib.MAX_WBITS  # the gzip format
CHUNK = 1 << 20


def unpack(content: bytes, limit: int = LARGEST_BYTES) -> bytes:
    """Unpack gzip.

    Args:
        content: One or several members.
        limit: Most bytes unpacked.

    Raises:
        ValueError: It is damaged, cut off, no gzip, or larger than the limit.
    """
    pieces: list[bytes] = []
    size, rest = 0, content
    while rest:
        stream = zlib.decompressobj(WINDOW)
        while not stream.eof:
            try:
                piece = stream.decompress(rest, CHUNK)
            except zlib.error as error:
                raise ValueError(f"no gzip, or damaged: {error}") from error
            rest = stream.unconsumed_tail
            size += len(piece)
            if size > limit:
                raise ValueError(f"it has more than {limit >> 20} MiB when unpacked")
            pieces.append(piece)
            if not piece and not rest and not stream.eof:
                raise ValueError("the gzip stream is cut off")
        rest = stream.unused_data.lstrip(b"\0")  # padding between members
    return b"".join(pieces)
