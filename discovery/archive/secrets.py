"""Credentials in addresses, which no archive may hold."""

from __future__ import annotations

import re

#: ``user:password@`` or ``:password@`` behind a scheme, up to the last @ before the host.
_CREDENTIALS = re.compile(r"(?<=://)[^\s/\"'<>]*@")


def without_credentials(text: str) -> str:
    """Replace user and password of every address in a text by ``***``.

    >>> without_credentials("lost mongodb://ann:se@cret@db.example/x")
    'lost mongodb://***@db.example/x'
    """
    return _CREDENTIALS.sub("***@", text) if "://" in text else text
