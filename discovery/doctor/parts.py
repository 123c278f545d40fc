"""What `discovery doctor` says of one part of the system."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """One part of the system as found on this machine.

    Attributes:
        name: What it is.
        status: ``ok``, ``missing`` or ``broken``.
        version: Its version, or an empty string.
        detail: What was found, or what is wrong.
        advice: What to do if it is not ok.
        needed: Whether the default campaign (quickstart) cannot run without it.
    """

    name: str
    status: str
    version: str
    detail: str
    advice: str
    needed: bool
