"""What somebody may have meant who wrote a name that nothing has."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Suggest the names most like another.

    Args:
        name: As it was written.
        known: The names there are.

    Returns:
        A question to put behind a sentence, its blank included; empty where nothing is like it.
    """
    of_lower = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name[:80].lower(), of_lower, n=2)
    return f" Did you mean {' or '.join(of_lower[one] for one in near)}?" if near else ""
