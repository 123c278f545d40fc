"""FireWorks' lock on a workflow, taken by force when whoever held it is gone.

FireWorks marks a workflow as locked while it rewrites it. A process killed inside leaves the mark
behind, without a name or a date, and every later writer waits five minutes and then fails. Our
workflows hold three Fireworks at most and a write takes milliseconds, so that a mark that stays for
seconds belongs to nobody.
"""

from __future__ import annotations

from typing import Any

from fireworks.core import launchpad as fireworks_launchpad

LOCK_SECONDS = 10.0
"""Wait for a lock before it is taken by force, s."""


class OrphanSafeLock(fireworks_launchpad.WFLock):
    """The lock that FireWorks takes, with a short wait and without giving up.

    Args:
        lp: The LaunchPad.
        fw_id: A Firework of the workflow.
        expire_secs: Longest wait, s; None for `LOCK_SECONDS`.
        kill: Take the lock by force after the wait.
    """

    def __init__(
        self, lp: Any, fw_id: int, expire_secs: float | None = None, kill: bool = True
    ) -> None:
        super().__init__(lp, fw_id, LOCK_SECONDS if expire_secs is None else expire_secs, kill)


def install() -> None:
    """Let every LaunchPad of this process use `OrphanSafeLock`; there is no argument for it."""
    fireworks_launchpad.WFLock = OrphanSafeLock
