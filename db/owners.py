"""Names of lease owners that tell whether their process is still alive on this machine."""

from __future__ import annotations

import os
import secrets
from functools import cache
from pathlib import Path


@cache
def _machine() -> str:
    """Name this boot and process namespace, the scope in which process ids mean something."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
        return f"{boot}.{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return f"unknown{secrets.token_hex(4)}"


def _started(process: int) -> str | None:
    """Read when a process started, in clock ticks since boot.

    Returns:
        The ticks, "" when they cannot be read, None when the process does not run.
    """
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # it runs, as another user
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def owner_name() -> str:
    """Name this process as the owner of leases, unlike every other one anywhere.

    Returns:
        ``host/machine/pid/start/random``.
    """
    process = os.getpid()
    host = os.uname().nodename.replace("/", "-")
    return f"{host}/{_machine()}/{process}/{_started(process)}/{secrets.token_hex(4)}"


def is_dead(owner: str) -> bool:
    """Say whether an owner certainly died.

    Args:
        owner: What `owner_name` returned in some process, or any other name.

    Returns:
        True only for a process of this machine that no longer runs; False when in doubt.
    """
    here, found, named = _seen(owner)
    return here and (found is None or (bool(found) and found != named))


def is_alive(owner: str) -> bool:
    """Say whether an owner certainly still runs.

    Args:
        owner: What `owner_name` returned in some process, or any other name.

    Returns:
        True only for a process of this machine that runs since the time in the name; False when
        in doubt.
    """
    here, found, named = _seen(owner)
    return here and bool(found) and found == named


def names_one_process(owner: str) -> bool:
    """Say whether a name can be that of one process only, as those of `owner_name` are."""
    parts = owner.split("/")
    return len(parts) == 5 and parts[2].isdigit()


def _seen(owner: str) -> tuple[bool, str | None, str]:
    """Look an owner's process up.

    Returns:
        Whether its name is one of this machine, when the process of its number started (see
        `_started`), and when it started by its name.
    """
    parts = owner.split("/")
    if not names_one_process(owner) or parts[1] != _machine():
        return False, None, ""
    return True, _started(int(parts[2])), parts[3]
