"""Fireworks whose launcher vanished or was stopped: queued again, or given up."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from agents.verify.settings import VerifySettings
from db.owners import is_alive, is_dead, names_one_process

if TYPE_CHECKING:
    from fireworks import LaunchPad

log = logging.getLogger(__name__)

REQUEUE_SECONDS = 10
_AWAY = re.compile(
    r"^pymongo\.errors\.(AutoReconnect|NetworkTimeout|NotPrimaryError|ServerSelectionTimeoutError"
    r"|WaitQueueTimeoutError|ExecutionTimeout|WTimeoutError)\b",
    re.MULTILINE,
)
"""In a traceback: the database did not answer."""
_DEFAULTS = VerifySettings()


def recover(
    pad: LaunchPad,
    *,
    lost_seconds: float = _DEFAULTS.lost_seconds,
    max_launches: int = _DEFAULTS.max_launches,
    idle: str | None = None,
) -> list[int]:
    """Queue the calculations of vanished or stopped launchers again.

    A launch is lost when its launcher was a process of this machine that is gone or runs something
    else by now, or when it was elsewhere and has been silent for too long. How long is measured by
    the server's clock, from when its last report was first seen: the launcher's own may be wrong.
    A silent process of this machine that lives was suspended or has no database: it will go on.
    May be called by anyone at any time.

    Args:
        pad: The queue.
        lost_seconds: Silence after which a launcher is taken for dead, s; the Firework's own
            ``lost_seconds`` goes before.
        max_launches: A calculation lost so often is not launched again; the Firework's own
            ``max_launches`` goes before.
        idle: A launcher that runs nothing at the moment, whatever the records say.

    Returns:
        Ids of the Fireworks that were queued again.
    """
    _release_reserved(pad, lost_seconds)
    _mark_lost(pad, lost_seconds, idle)
    queued = []
    for found in pad.fireworks.find({"state": "FIZZLED"}, {"fw_id": 1}):
        fw_id = int(found["fw_id"])
        if is_unfinished(pad, fw_id, max_launches=max_launches) and _claim(pad, fw_id):
            pad.rerun_fw(fw_id)
            log.warning("Firework %d lost its launcher and is queued again", fw_id)
            queued.append(fw_id)
    return queued


def is_unfinished(pad: LaunchPad, fw_id: int, *, max_launches: int) -> bool:
    """Say whether a fizzled Firework only lost its launcher and will be launched again.

    Args:
        pad: The queue.
        fw_id: The Firework.
        max_launches: Used where the Firework's spec holds none.
    """
    launches = list(pad.launches.find({"fw_id": fw_id}).sort("launch_id", 1))
    if not launches:
        return False
    if was_interrupted(launches[-1]):
        return True
    lost = [launch for launch in launches if not was_interrupted(launch)]
    limit = int(_own(pad, fw_id, "max_launches", max_launches))
    return failure_of(launches[-1]) is None and len(lost) < limit


def was_interrupted(launch: dict[str, Any]) -> bool:
    """Say whether a launch ended because its launcher was asked to stop."""
    failure = failure_of(launch)
    return bool(failure and (failure.get("_details") or {}).get("interrupted"))


def failure_of(launch: dict[str, Any]) -> dict[str, Any] | None:
    """Return the exception that ended a launch; None where the launch was lost without a word.

    One that lost its database is lost as well: what it computed is on its disk, and the next launch
    takes it over (`agents.verify.queue.left_behind`).
    """
    action = launch.get("action") or {}
    exception: dict[str, Any] | None = action.get("stored_data", {}).get("_exception")
    if exception and _AWAY.search(exception.get("_stacktrace") or ""):
        return None
    return exception


def _claim(pad: LaunchPad, fw_id: int) -> bool:
    """Make sure that of several who want to queue a Firework again only one does."""
    pause = {"startDate": "$$NOW", "unit": "second", "amount": REQUEUE_SECONDS}
    before = {"$dateToString": {"date": {"$dateSubtract": pause}}}
    long_ago = {"$lt": [{"$ifNull": ["$spec.requeued_at", ""]}, before]}
    claimed = pad.fireworks.update_one(
        {"fw_id": fw_id, "state": "FIZZLED", "$expr": long_ago},
        [{"$set": {"spec.requeued_at": {"$dateToString": {"date": "$$NOW"}}}}],
    )
    return bool(claimed.modified_count)


def _own(pad: LaunchPad, fw_id: int, name: str, default: float) -> float:
    """Read a limit from a Firework's spec, where the campaign that queued it wrote it."""
    found = pad.fireworks.find_one({"fw_id": fw_id}, {f"spec.{name}": 1}) or {}
    return float(found.get("spec", {}).get(name, default))


def _mark_lost(pad: LaunchPad, lost_seconds: float, idle: str | None) -> None:
    pad.detect_lostruns(expiration_secs=lost_seconds, refresh=True)  # repairs half-written ends
    fields = {"launch_id": 1, "fw_id": 1, "fworker": 1, "state_history": 1}
    running = list(pad.launches.find({"state": "RUNNING"}, fields).sort("launch_id", 1))
    newest = {one["fworker"]["name"]: one["launch_id"] for one in running}
    for launch in running:
        launcher, launch_id = launch["fworker"]["name"], launch["launch_id"]
        # Every job of one my_fworker.yaml has that file's name: these run side by side.
        runs_another = launch_id < newest[launcher] and names_one_process(launcher)
        if launcher == idle or is_dead(launcher) or runs_another:
            lost = True
        elif is_alive(launcher):  # perhaps suspended
            lost = False
        else:
            limit = _own(pad, launch["fw_id"], "lost_seconds", lost_seconds)
            reports = [one["updated_on"] for one in launch["state_history"]]
            chosen = {"launch_id": launch_id, "state": "RUNNING"}
            lost = _silence(pad.launches, chosen, str(reports[-1])) >= limit
        if lost and _fizzle(pad, launch_id):
            pad.mark_fizzled(launch_id)


def _fizzle(pad: LaunchPad, launch_id: int) -> bool:
    """Take a launch that still runs for lost; its launcher may have reported at this moment.

    FireWorks replaces the whole record of a launch, whatever it says by then.
    """
    running = {"launch_id": launch_id, "state": "RUNNING"}
    return bool(pad.launches.update_one(running, {"$set": {"state": "FIZZLED"}}).modified_count)


def _silence(collection: Any, chosen: dict[str, Any], report: str) -> float:
    """Return how long ago a report was first seen, s, by the server's clock; remember a new one.

    Args:
        collection: Of launches or Fireworks.
        chosen: Which one, as long as it is in the state that is watched.
        report: Its last sign of life. The time in it is of a clock that may be wrong: it only
            tells one report from another.
    """
    heard = {"report": {"$literal": report}, "at": "$$NOW"}
    collection.update_one({**chosen, "heard.report": {"$ne": report}}, [{"$set": {"heard": heard}}])
    since = {"$subtract": ["$$NOW", "$heard.at"]}  # ms
    found = list(collection.aggregate([{"$match": chosen}, {"$project": {"since": since}}]))
    return float(found[0]["since"] or 0.0) / 1000 if found else 0.0


def last_report(launch: dict[str, Any]) -> float:
    """Return for how long a launch ran until it was last heard of, s."""
    running = [one for one in launch.get("state_history", []) if one["state"] == "RUNNING"]
    if not running:
        return 0.0
    last = max(_time(one.get("updated_on") or one["created_on"]) for one in running)
    return (last - min(_time(one["created_on"]) for one in running)).total_seconds()


def _time(value: str | datetime) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _release_reserved(pad: LaunchPad, lost_seconds: float) -> None:
    """Free Fireworks whose launcher died between reserving and launching them.

    Those that ``qlaunch --reserve`` holds for a job in a queue have a launch, and stay.
    """
    fields = {"fw_id": 1, "updated_on": 1, "spec.lost_seconds": 1}
    for found in pad.fireworks.find({"state": "RESERVED"}, fields):
        if pad.launches.count_documents({"fw_id": found["fw_id"], "state": "RESERVED"}):
            continue
        limit = float(found.get("spec", {}).get("lost_seconds", lost_seconds))
        chosen = {key: found[key] for key in ("fw_id", "updated_on")} | {"state": "RESERVED"}
        if _silence(pad.fireworks, chosen, str(found["updated_on"])) >= limit:
            pad.fireworks.update_one(chosen, {"$set": {"state": "READY"}})
