"""Credentials in addresses, which no archive may hold."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

#: ``user:password@`` or ``:password@`` behind a scheme, up to the last @ of the word: a password
#: may hold every sign. Rather too much is taken out than too little.
_PASSWORD = re.compile(r"(?<=://)[^\s/@:\"'<>]*:\S*@")
#: ``user@`` behind a scheme, up to the last @ before the host.
_USER = re.compile(r"(?<=://)[^\s/\"'<>]*@")
#: Values of parameters that are named as keys are.
_PARAMETER = re.compile(
    r"([?&;][\w.-]*(?:key|token|secret|passw|pwd|signature|credential)[\w.-]*=)[^&;#\s\"'<>]+",
    re.IGNORECASE,
)


def without_credentials(text: str) -> str:
    """Replace user and password of every address in a text, and keys in its query, by ``***``.

    >>> without_credentials("lost mongodb://ann:se@c/ret@db.example/x")
    'lost mongodb://***@db.example/x'
    >>> without_credentials("no answer from /v2?api_key=abc&page=1")
    'no answer from /v2?api_key=***&page=1'
    """
    if "://" in text:
        text = _USER.sub("***@", _PASSWORD.sub("***@", text))
    return _PARAMETER.sub(r"\1***", text) if "=" in text else text


def plain_json(value: Any, dumps: Callable[[Any], str]) -> str:
    """Write a value as JSON, the credentials of each of its texts taken out.

    Args:
        value: What to write.
        dumps: Makes JSON of it.
    """
    text = dumps(value)
    return dumps(_cleaned(value)) if "://" in text or "=" in text else text


def _cleaned(value: Any) -> Any:
    """Return a value with every text in it cleaned: as JSON, their ends could not be told."""
    if isinstance(value, dict):
        return {
            without_credentials(key) if isinstance(key, str) else key: _cleaned(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    return without_credentials(value) if type(value) is str else value
