"""``discovery verify``: DFT on a person's own structures, with launchers of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agents.verify.files import Estimate, FileVerification
from agents.verify.settings import VerifySettings
from db.connection import Session, connect
from db.paths import home_directory
from discovery.campaign.launch import interrupted_by_signals
from discovery.workers.processes import Children, launcher_command

if TYPE_CHECKING:
    from pymatgen.core import Structure

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class VerifyOptions:
    """What the command line chooses.

    Attributes:
        settings: Code, preset, workflow and limits.
        launchers: Launcher processes to start here; 0: others work off the queue.
        database_uri: MongoDB to use instead of ``$MONGODB_URI`` or the embedded one.
    """

    settings: VerifySettings
    launchers: int = 1
    database_uri: str | None = None


def verify_structures(
    structures: Mapping[str, Structure],
    options: VerifyOptions,
    *,
    announce: Callable[[str], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, dict[str, Any]]:
    """Compute energy, gap and formation energy of crystals, each calculation paid for once.

    Args:
        structures: Identifier to crystal.
        options: What to compute, and how.
        announce: Told the estimate before anything is queued, and every calculation that ends.
        progress: Told how many calculations of how many are done.

    Returns:
        The record of each crystal (`FileVerification.record`) with ``estimated_core_hours``.

    Raises:
        BackendUnavailable: The code cannot be used here.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what was running is given back, and the same call
            continues.
    """
    from agents.verify.backend import load_backend, resolve_backend
    from agents.verify.queue.launchpad import launchpad

    resolved = resolve_backend(options.settings)
    backend = load_backend(resolved["name"])
    with connect(options.database_uri) as session:
        work = FileVerification(
            launchpad(session),
            backend,
            backend.read_settings(resolved["settings"]),
            options.settings,
            structures,
        )
        announce(f"level of theory: {resolved['level']}")
        estimate = work.estimate()
        for line in describe(estimate):
            announce(line)
        with interrupted_by_signals():
            work.queue()
            _wait(work, session, options.launchers, announce, progress)
            work.release()
        return {name: _with_estimate(work.record(name), estimate, name) for name in structures}


def describe(estimate: Estimate) -> list[str]:
    """Put an estimate into words."""
    hours = estimate.core_seconds / 3600
    lines = [f"estimate: {hours:.3g} core-hours for {len(estimate.structures)} crystals"]
    if estimate.references:
        elements = ", ".join(sorted(estimate.references))
        share = sum(estimate.references.values()) / 3600
        lines.append(f"of these {share:.3g} for the elemental references of {elements}")
    paid = [name for name, seconds in estimate.structures.items() if seconds == 0]
    if paid:
        lines.append(f"{len(paid)} of them have been computed before")
    lines += [f"{name} is not computed: {reason}" for name, reason in estimate.refused.items()]
    return lines


def _wait(
    work: FileVerification,
    session: Session,
    launchers: int,
    announce: Callable[[str], None],
    progress: Callable[[int, int], None],
) -> None:
    """Let launchers work until nothing is left."""
    left = total = work.step()
    if not left:
        return
    progress(0, total)
    environment = {
        "DISCOVERY_DB_URI": session.uri,
        "DISCOVERY_DB_NAME": session.database_name,
        "DISCOVERY_HOME": str(home_directory()),
    }
    with ExitStack() as stack:
        children = stack.enter_context(Children(environment, home_directory() / "logs"))
        for number in range(launchers):
            children.start(f"launcher-{os.getpid()}-{number}", launcher_command())
        if launchers:
            announce(f"{left} calculations, {launchers} at a time")
        else:
            announce(f"{left} calculations wait for `discovery worker --queue dft`")
        while left:
            time.sleep(POLL_SECONDS)
            for name in children.watch():
                announce(f"{name} died and was started again")
            before, left = left, work.step()
            total = max(total, left)
            progress(total - left, total)
            if left < before:
                announce(f"{left} calculations left")


def _with_estimate(record: dict[str, Any], estimate: Estimate, name: str) -> dict[str, Any]:
    seconds = estimate.structures.get(name)
    return {**record, "estimated_core_hours": None if seconds is None else seconds / 3600}
