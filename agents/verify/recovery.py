"""Fireworks whose launcher vanished or was stopped: queued again, or given up."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from agents.verify.settings import VerifySettings
from db.owners import is_dead

if TYPE_CHECKING:
    from fireworks import LaunchPad

log = logging.getLogger(__name__)

REQUEUE_SECONDS = 10.0
_DEFAULTS = VerifySettings()


def recover(
    pad: LaunchPad,
    *,
    lost_seconds: float = _DEFAULTS.lost_seconds,
    max_launches: int = _DEFAULTS.max_launches,
) -> list[int]:
    """Queue the calculations of vanished or stopped launchers again.

    A launch is lost when its launcher was a process of this machine that is gone, or when it has
    been silent for too long. May be called by anyone at any time.

    Args:
        pad: The queue.
        lost_seconds: Silence after which a launcher is taken for dead, s.
        max_launches: A calculation lost so often is not launched again.

    Returns:
        Ids of the Fireworks that were queued again.
    """
    _release_reserved(pad, lost_seconds)
    _mark_lost(pad, lost_seconds)
    queued = []
    for found in pad.fireworks.find({"state": "FIZZLED"}, {"fw_id": 1}):
        fw_id = int(found["fw_id"])
        if is_unfinished(pad, fw_id, max_launches=max_launches) and _claim(pad, fw_id):
            pad.rerun_fw(fw_id)
            log.warning("Firework %d lost its launcher and is queued again", fw_id)
            queued.append(fw_id)
    return queued


def is_unfinished(pad: LaunchPad, fw_id: int, *, max_launches: int) -> bool:
    """Say whether a fizzled Firework only lost its launcher and will be launched again."""
    launches = list(pad.launches.find({"fw_id": fw_id}).sort("launch_id", 1))
    if not launches:
        return False
    if was_interrupted(launches[-1]):
        return True
    lost = [launch for launch in launches if not was_interrupted(launch)]
    return failure_of(launches[-1]) is None and len(lost) < max_launches


def was_interrupted(launch: dict[str, Any]) -> bool:
    """Say whether a launch ended because its launcher was asked to stop."""
    failure = failure_of(launch)
    return bool(failure and (failure.get("_details") or {}).get("interrupted"))


def failure_of(launch: dict[str, Any]) -> dict[str, Any] | None:
    """Return the exception that ended a launch; None where the launch was lost without a word."""
    action = launch.get("action") or {}
    exception: dict[str, Any] | None = action.get("stored_data", {}).get("_exception")
    return exception


def _claim(pad: LaunchPad, fw_id: int) -> bool:
    """Make sure that of several who want to queue a Firework again only one does."""
    now = datetime.now(UTC)
    before = (now - timedelta(seconds=REQUEUE_SECONDS)).isoformat()
    claimed = pad.fireworks.update_one(
        {
            "fw_id": fw_id,
            "state": "FIZZLED",
            "$or": [{"spec.requeued_at": None}, {"spec.requeued_at": {"$lt": before}}],
        },
        {"$set": {"spec.requeued_at": now.isoformat()}},
    )
    return bool(claimed.modified_count)


def _mark_lost(pad: LaunchPad, lost_seconds: float) -> None:
    running = pad.launches.find({"state": "RUNNING"}, {"launch_id": 1, "fworker": 1})
    dead = {one["launch_id"] for one in running if is_dead(one["fworker"]["name"])}
    silent, _, _ = pad.detect_lostruns(expiration_secs=lost_seconds, refresh=True)
    for launch_id in sorted({*silent, *dead}):
        pad.mark_fizzled(launch_id)


def _release_reserved(pad: LaunchPad, lost_seconds: float) -> None:
    """Free Fireworks whose launcher died between reserving and launching them."""
    expiry = datetime.now(UTC) - timedelta(seconds=lost_seconds)
    for found in pad.fireworks.find({"state": "RESERVED"}, {"fw_id": 1, "updated_on": 1}):
        updated = found["updated_on"]
        if isinstance(updated, str):
            updated = datetime.fromisoformat(updated)
        if updated.tzinfo is None:
            updated = updated.replace(tzinfo=UTC)
        if updated < expiry:
            pad.fireworks.update_one(
                {"fw_id": found["fw_id"], "state": "RESERVED", "updated_on": found["updated_on"]},
                {"$set": {"state": "READY"}},
            )
