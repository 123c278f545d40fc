"""The models behind a candidate's numbers: versions, files, and what each head had learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agents.learn.lineage import lineage
from db import model_versions
from db.documents import Campaign, ModelVersion

Record = dict[str, Any]

HEAD = "head"


def models(record: Mapping[str, Any], campaign: Campaign) -> list[Record]:
    """List what gave the numbers of a candidate, the generator first.

    Args:
        record: The candidate.
        campaign: Its campaign.

    Returns:
        Each with ``model``, ``version``, ``gave`` (property@level on which geometry) and what is
        known of it: ``files`` (name to sha256) of a screen, ``references`` (sha256 of the table of
        elemental energies) of a potential, ``learned`` of a property head: its line of promoted
        versions, the oldest first, the one shipped with the generator as the first. A screen that
        was not asked or gave no number is there with ``reason``.
    """
    generator = campaign.resolved["generator"]
    listed: list[Record] = [
        {"model": "generator", "name": generator["name"], "version": generator["version"]}
    ]
    for (name, version), gave in _given(record).items():
        about = _about(name, version, campaign)
        listed.append({"model": name, "version": version, "gave": gave, **about})
    spoke = {one["model"] for one in listed}
    for asked in (record.get("screening") or {}).get("models", []):
        if asked["name"] not in spoke:
            listed.append(
                {"model": asked["name"], "version": asked["version"], "reason": asked["reason"]}
            )
    return listed


def promotions(campaign: str, version: str) -> list[Record] | None:
    """Return the line of heads that led to one, the oldest first.

    Args:
        campaign: Name of the campaign.
        version: First 12 digits of the head's sha256, as in predictions.

    Returns:
        Each with ``version``, ``parent``, ``decision``, ``reason``, ``labels`` (how many of each
        target it learned from), ``judged_by`` (how many labels) and ``created_at``; None where the
        campaign stored no such head: then it is the one shipped with the generator.
    """
    stored = model_versions.history(campaign)
    own = [one for one in stored if one.sha256.startswith(version)]
    if not own:
        return None
    return [_promotion(one) for one in reversed(lineage(stored, own[0].id))]


def _given(record: Mapping[str, Any]) -> dict[tuple[str, str], list[str]]:
    given: dict[tuple[str, str], list[str]] = {}
    for one in record.get("predictions", []):
        name = f"{one['property']}@{one['level']} {one['on']}"
        given.setdefault((one["model"], one["version"]), []).append(name)
    return given


def _about(name: str, version: str, campaign: Campaign) -> Record:
    resolved = campaign.resolved
    if name == HEAD:
        shipped = {"version": resolved["generator"]["head"], "decision": "shipped"}
        line = promotions(campaign.name, version)
        return {"learned": [shipped, *(line or [])]}
    for screen in resolved["screens"]:
        if screen["name"] == name and screen["used"]:
            return {"files": screen.get("files", {})}
    for potential in (resolved["potential"], resolved.get("second_potential")):
        if potential and potential["level"] == f"{name}-{version}":
            return {"references": potential["references"], "device": potential["device"]}
    return {}


def _promotion(version: ModelVersion) -> Record:
    return {
        "version": version.id,
        "sha256": version.sha256,
        "parent": version.parent,
        "decision": version.decision,
        "reason": version.reason,
        "labels": dict(version.labels["counts"]),
        "judged_by": len(version.labels["gate"]),
        "created_at": version.created_at.isoformat(),
    }
