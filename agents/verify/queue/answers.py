"""What a runner may answer: whatever passes can be stored and read by everybody after it."""

from __future__ import annotations

import json
from typing import Any

from db.plain import plain

LARGEST_ANSWER = 14 * 2**20
"""Bytes; a record of the database has at most 16 MiB."""


def parse_answer(content: bytes, name: str) -> dict[str, Any]:
    """Check what a runner wrote.

    Args:
        content: All of it, or more than `LARGEST_ANSWER` bytes of it.
        name: Of the file, for the message.

    Returns:
        ``{"result": {...}}`` or ``{"error": {"kind", "message", "log_tail"}}``.

    Raises:
        ValueError: It is none of these, or too large.
        RecursionError: It is nested too deeply.
    """
    if len(content) > LARGEST_ANSWER:
        raise ValueError(f"it has more than {LARGEST_ANSWER >> 20} MiB")
    answer = plain(json.loads(content), name)
    if not isinstance(answer, dict):
        raise ValueError("it is no JSON object")
    error, result = answer.get("error"), answer.get("result")
    if isinstance(error, dict) and {"kind", "message"} <= set(error):
        return {"error": {"log_tail": "", **error}}
    if not isinstance(result, dict) or error is not None:
        raise ValueError("it holds neither a result nor an error")
    return {"result": result}
