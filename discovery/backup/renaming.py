"""Another name for a campaign, in every record that knows the old one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Document = dict[str, Any]

#: Fields whose value is the name of a campaign.
FIELDS = ("campaign", "journal")


class Renaming:
    """Gives the records of one campaign another name.

    The ids of candidates and of model versions begin with the campaign's name and end with 12
    hexadecimal digits; they are found wherever they stand, in keys and inside texts too.

    Args:
        old: The name in the records.
        new: The name they shall have.
    """

    def __init__(self, old: str, new: str) -> None:
        self.old, self.new = old, new
        self._id = re.compile(
            rf"(?<![A-Za-z0-9._-]){re.escape(old)}-(?=[0-9a-f]{{12}}(?![0-9A-Za-z]))"
        )

    def document(self, document: Document) -> Document:
        """Return a record under the new name; the old one stays as it is."""
        renamed: Document = self._value(document)
        if renamed.get("_id") == self.old:  # the campaign's own record
            renamed["_id"] = self.new
            renamed["config"] = {**renamed["config"], "name": self.new}
        if renamed.get("_id") == f"seq/{self.old}":
            renamed["_id"] = f"seq/{self.new}"
        return renamed

    def text(self, text: str) -> str:
        """Return a text with the ids under the new name."""
        return self._id.sub(f"{self.new}-", text)

    def _value(self, value: Any) -> Any:
        if self.old == self.new:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {
                self.text(key): (
                    self.new if key in FIELDS and item == self.old else self._value(item)
                )
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [self._value(item) for item in value]
        return value
