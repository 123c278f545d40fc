"""Looking for what a person must decide; nothing is changed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.verify.queue.attempts import CIRCUMSTANCES
from agents.verify.queue.operations import SHORT
from db import campaigns, model_versions
from db.connection import current_database
from db.documents import Calculation, Campaign, Candidate, ModelVersion
from db.events import server_time
from db.states import CalculationState, CampaignState, State
from discovery.repair.finding import Finding, Kind

if TYPE_CHECKING:
    from fireworks import LaunchPad

ENVIRONMENT = re.compile(
    r"gave up after \d+ attempts$|no space left|disk quota|read-only file system|input/output error"
    r"|too many open files|permission denied|cannot allocate|out of memory|memoryerror|cuda"
    r"|connection|serverselection|autoreconnect|notprimary|networktimeout|timed? ?out|broken pipe"
    r"|importerror|modulenotfound|missingfile|missingmodel|missingpackage|versionchanged|sigkill",
    re.IGNORECASE,
)
"""Errors of the machine, the network or the installation. A candidate whose workers vanished three
times is among them: a person sees whether the machine was to blame or the crystal."""

OWN_RISK = frozenset({*CIRCUMSTANCES, "crashed", "output", "task"})
"""Kinds of failed calculations that may end otherwise when they are run again."""

WAITING = ("READY", "WAITING", "RESERVED")
PATIENCE_SECONDS = 600.0
MOST_EVIDENCE = 300


def examine(name: str, pad: LaunchPad) -> list[Finding]:
    """Look for everything that a person must decide about a campaign.

    Args:
        name: Of the campaign.
        pad: The queue of calculations.

    Returns:
        The findings, the campaign's own first.

    Raises:
        UnknownCampaign: There is none of this name.
    """
    campaign = campaigns.load(name)
    return [
        *_leaderless(campaign),
        *_live_model(campaign),
        *_failed_candidates(name),
        *_failed_calculations(name),
        *_orphans(name, pad),
        *_unlaunched(name, pad),
        *_missing_outputs(name),
    ]


def _leaderless(campaign: Campaign) -> Iterator[Finding]:
    leader = campaign.leader
    if campaign.state != CampaignState.RUNNING:
        return
    if leader and leader["expires_at"] > server_time():
        return
    who = "nobody leads it"
    if leader:
        who = f"the lead of {leader['owner']} ended {leader['expires_at']:%Y-%m-%d %H:%M:%S} UTC"
    yield Finding(
        Kind.STOP_CAMPAIGN,
        str(campaign.name),
        f"it is running by its record, but {who}",
        f"mark it as stopped (to go on instead: discovery run, with the file of {campaign.name})",
    )


def _live_model(campaign: Campaign) -> Iterator[Finding]:
    version = campaign.live_model
    if version is None:
        return
    fault = _fault_of_model(version)
    if fault is None:
        return
    other = sound_model(str(campaign.name))
    named = other or "the head that the generator ships"
    yield Finding(Kind.LIVE_MODEL, version, fault, f"make {named} the live one")


def _fault_of_model(version: str) -> str | None:
    try:
        model_versions.load_payload(version)
    except (model_versions.UnknownModelVersion, model_versions.CorruptedPayload) as error:
        return str(error)
    return None


def sound_model(name: str) -> str | None:
    """Return the newest promoted version of a campaign whose weights are whole; None without."""
    promoted = ModelVersion.objects(campaign=name, decision="promoted").order_by("-created_at")
    return next((str(one.id) for one in promoted if _fault_of_model(one.id) is None), None)


def _failed_candidates(name: str) -> Iterator[Finding]:
    failed = Candidate.objects(campaign=name, state=str(State.FAILED)).order_by("seq")
    for one in failed.only("id", "error", "history"):
        start = one.history[-1]["from"]
        if start == State.VERIFYING or not ENVIRONMENT.search((one.error or "").strip()):
            continue
        yield Finding(
            Kind.RETRY_CANDIDATE,
            str(one.id),
            f"it failed when {start}: {_short(one.error)}",
            f"take it back to {start}, where a worker tries again",
        )


def _failed_calculations(name: str) -> Iterator[Finding]:
    failed = {"state": str(CalculationState.FAILED), "info__campaign": name}
    for one in Calculation.objects(**failed).order_by("created_at"):
        kind = str((one.info.get("failure") or {}).get("kind", ""))
        if kind not in OWN_RISK:
            continue
        yield Finding(
            Kind.RERUN_CALCULATION,
            one.hash[:SHORT],
            f"{one.task} of {one.formula} failed: {_short(one.error)}",
            f"queue it again, and what waited for it (discovery dft rerun {one.hash[:SHORT]})",
        )


def _orphans(name: str, pad: LaunchPad) -> Iterator[Finding]:
    """Find Fireworks that wait to be launched although nobody wants their answer."""
    fields = {"fw_id": 1, "state": 1, "spec.hash": 1, "spec.calculation": 1, "name": 1}
    queued = list(
        pad.fireworks.find(
            {"state": {"$in": list(WAITING)}, "spec.hash": {"$exists": True}}, fields
        )
    )
    hashes = [one["spec"]["hash"] for one in queued]
    records = {one.hash: one for one in Calculation.objects(hash__in=hashes)}
    for one in sorted(queued, key=lambda found: found["fw_id"]):
        calculation = records.get(one["spec"]["hash"])
        if calculation is None:
            why = "no calculation is recorded for it"
        elif calculation.info.get("campaign") not in (None, name):
            continue
        elif calculation.state in (CalculationState.COMPLETED, CalculationState.FAILED):
            why = f"its calculation is {calculation.state} already"
        elif calculation.fw_id not in (None, one["fw_id"]):
            why = f"its calculation waits for Firework {calculation.fw_id} instead"
        else:
            continue
        yield Finding(
            Kind.DEFUSE_FIREWORK,
            str(one["fw_id"]),
            f"{one.get('name', 'Firework')} is {one['state']}, but {why}",
            "take it out of the queue (FireWorks keeps it as DEFUSED)",
        )


def _unlaunched(name: str, pad: LaunchPad) -> Iterator[Finding]:
    """Find calculations that wait while no launcher has reported for long."""
    submitted = {"state": str(CalculationState.SUBMITTED), "info__campaign": name}
    numbers = [one.fw_id for one in Calculation.objects(**submitted).only("fw_id")]
    waiting = pad.fireworks.count_documents({"fw_id": {"$in": numbers}, "state": "READY"})
    if not waiting:
        return
    last = pad.launches.find_one({}, {"state_history": 1}, sort=[("launch_id", -1)])
    silent = _seconds_since(last)
    if silent is not None and silent < PATIENCE_SECONDS:
        return
    said = "none ever launched one" if silent is None else f"the last report is {silent:.0f} s old"
    yield Finding(
        Kind.NO_LAUNCHER,
        name,
        f"{waiting} calculations wait to be launched, and {said}",
        "start a launcher: discovery worker --queue dft",
        applicable=False,
    )


def _seconds_since(launch: dict[str, Any] | None) -> float | None:
    times = [
        entry[key]
        for entry in (launch or {}).get("state_history", [])
        for key in ("updated_on", "created_on")
        if key in entry
    ]
    if not times:
        return None
    latest = max(datetime.fromisoformat(str(one)) for one in times)
    return (server_time() - latest.replace(tzinfo=UTC)).total_seconds()


def _missing_outputs(name: str) -> Iterator[Finding]:
    """Find raw outputs that were kept on this machine and are not there any more."""
    kept = {"info.campaign": name, "outputs.files": {"$exists": True, "$ne": []}}
    fields = {"outputs": 1, "formula": 1, "task": 1}
    for one in current_database()["calculations"].find(kept, fields).sort("created_at", 1):
        folder = Path(one["outputs"].get("folder") or "")
        if not folder.is_absolute() or not folder.parent.is_dir():
            continue  # another machine's
        paths = [file["path"] for file in one["outputs"]["files"]]
        gone = [path for path in paths if not (folder / path).is_file()]
        if gone:
            yield Finding(
                Kind.MISSING_OUTPUTS,
                one["_id"][:SHORT],
                f"{one.get('task')} of {one['formula']}: {len(gone)} of {len(paths)} files are not "
                f"in {folder}, first {gone[0]}",
                "bring them back from a backup; the numbers are in the record",
                applicable=False,
            )


def _short(text: str | None) -> str:
    return " ".join((text or "without a word").split())[:MOST_EVIDENCE]
