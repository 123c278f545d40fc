"""What a campaign has done so far, from its records alone."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from agents.verify.choice.arms import compare_arms
from agents.verify.choice.budget import core_time
from db import campaigns, candidates, queries
from db.documents import Campaign, Candidate, Event
from db.states import State
from discovery.reports.paper_funnel import paper_funnel
from discovery.reports.rediscovery import rediscoveries

#: What counts as near the hull, eV/atom.
NEAR_HULL = 0.1


def status(campaign: str, *, funnels: bool = True) -> dict[str, Any]:
    """Summarise a campaign.

    Args:
        campaign: Its name.
        funnels: Whether to judge the candidates for ``paper`` and ``rediscovered``. Verdicts on
            rejected ones are remembered (`db.settled`); the first time takes seconds in a large
            campaign.

    Returns:
        Plain JSON values: ``campaign``, ``state``, ``counts`` per state (they add up to
        ``candidates``), ``rejections`` per reason, ``reached`` (the funnel: how many ever were in a
        state), ``dft``, ``arms`` (what DFT said of the chosen candidates, and of those drawn at
        random), ``proposers``, ``model_version``, ``hull``, ``follow_up``, ``learning``, ``best``;
        ``paper`` (the rows of the paper's funnel, see `discovery.reports.paper_funnel`, or None)
        and ``rediscovered`` (`discovery.reports.rediscovery`).
    """
    record = campaigns.load(campaign)
    counts = candidates.counts(campaign)
    counted = {}
    if funnels:
        counted = {"paper": paper_funnel(campaign), "rediscovered": rediscoveries(campaign)}
    return {
        "campaign": campaign,
        "state": record.state,
        "stop_reason": record.stop_reason,
        "candidates": sum(counts.values()),
        "counts": counts,
        "rejections": candidates.rejections(campaign),
        "reached": queries.reached(campaign),
        "dft": dft_counts(campaign) | {"core_hours": core_hours(record)},
        "arms": arms(record),
        "proposers": queries.count_by(campaign, "proposer"),
        "generator": record.resolved["generator"],
        "potential": record.resolved["potential"],
        "screens": record.resolved["screens"],
        "model_version": record.live_model or record.resolved["generator"]["head"],
        "hull": hull_counts(campaign),
        "follow_up": follow_up_counts(campaign),
        "learning": learning_events(campaign),
        "best": best(campaign),
        **counted,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }


def dft_counts(campaign: str) -> dict[str, int]:
    """Count the candidates that DFT was chosen for, and what came back."""
    chosen = Candidate.objects(campaign=campaign, selection__position__exists=True)
    fields = ("state", "verification.hit", "verification.calculations.references")
    states: Counter[str] = Counter()
    references: set[str] = set()
    hits = 0
    for candidate in chosen.only(*fields):
        verification = candidate.verification or {}
        states[candidate.state] += 1
        hits += bool(verification.get("hit"))
        references.update((verification.get("calculations") or {}).get("references", {}).values())
    return {
        "submitted": sum(states.values()),
        "running": states[State.SELECTED] + states[State.VERIFYING],
        "completed": states[State.VERIFIED],
        "failed": states[State.FAILED],
        "hits": hits,
        "references": len(references),
    }


def arms(record: Campaign) -> list[dict[str, Any]]:
    """Compare the candidates that were chosen for DFT with those drawn at random."""
    fields = ("state", "selection.control", "verification.targets")
    chosen = Candidate.objects(campaign=record.name, selection__position__exists=True).only(*fields)
    calls = [
        {
            "control": one.selection.get("control", False),
            "state": one.state,
            "targets": (one.verification or {}).get("targets"),
        }
        for one in chosen
    ]
    properties = [target["property"] for target in record.config.get("targets", [])]
    return [arm.record() for arm in compare_arms(calls, properties)]


def core_hours(record: Campaign) -> dict[str, float | None]:
    """Return the core-hours of DFT that a campaign spent, has in flight, and may spend at most."""
    limit = (record.config.get("verify") or {}).get("max_core_hours")
    return core_time(record.name, limit).record()


def hull_counts(campaign: str) -> dict[str, Any]:
    """Count the candidates placed relative to the potential's hull, and the refused ones."""
    distance = "hull.energy_above_hull"
    return {
        "placed": queries.count_in(campaign, distance, {"$gte": -math.inf}),
        "below": queries.count_in(campaign, distance, {"$lt": 0}),
        "within_0.1": queries.count_in(campaign, distance, {"$lte": NEAR_HULL}),
        "refused": queries.count_by(campaign, "hull.refused.reason"),
    }


def follow_up_counts(campaign: str) -> dict[str, Any]:
    """Count the hits that are followed up, and what was found."""
    followed = list(
        Candidate.objects(campaign=campaign, follow_up__position__exists=True).only("follow_up")
    )
    records = [one.follow_up for one in followed]
    verdicts = Counter(one["stability"]["verdict"] for one in records if "stability" in one)
    bands = [one["bands"] for one in records if "direct" in one.get("bands", {})]
    estimates = [one["gaps"]["in_window"] for one in records if "gaps" in one]
    return {
        "chosen": len(records),
        "finished": sum("stability" in one and "gaps" in one for one in records),
        **{name: verdicts[name] for name in ("stable", "unstable", "undecided")},
        "direct": sum(one["direct"] for one in bands),
        "still_in_window": sum(bool(one.get("estimate")) for one in estimates),
        "hulls": sum("energy_above_hull" in one.get("hull", {}) for one in records),
    }


def learning_events(campaign: str) -> list[dict[str, Any]]:
    """List the learning events in order of time, with what was decided and why."""
    return [
        {**event.data, "at": event.at}
        for event in Event.objects(campaign=campaign, kind="learning").order_by("at")
    ]


def best(campaign: str, limit: int = 5) -> list[dict[str, Any]]:
    """List the most advanced candidates: verified hits first, then the lowest relaxed energies."""
    fields = (
        *("id", "formula", "state", "verification"),
        *("relaxation.formation_energy_per_atom", "hull.energy_above_hull"),
    )
    verified = (
        Candidate.objects(campaign=campaign, state=State.VERIFIED.value)
        .only(*fields)
        .order_by("-verification.hit", "verification.formation_energy_per_atom")
        .limit(limit)
    )
    relaxed = (
        Candidate.objects(
            campaign=campaign,
            state__in=[State.SCREENED.value, State.SELECTED.value, State.VERIFYING.value],
            relaxation__formation_energy_per_atom__exists=True,  # leads to the index of energies
        )
        .only(*fields)
        .order_by("relaxation.formation_energy_per_atom")
        .limit(limit)
    )
    chosen = [*verified, *relaxed][:limit]
    return [
        {
            "id": one.id,
            "formula": one.formula,
            "state": one.state,
            "formation_energy_per_atom_potential": (one.relaxation or {}).get(
                "formation_energy_per_atom"
            ),
            "energy_above_hull_potential": (one.hull or {}).get("energy_above_hull"),
            "formation_energy_per_atom": (one.verification or {}).get("formation_energy_per_atom"),
            "band_gap": (one.verification or {}).get("band_gap"),
            "hit": (one.verification or {}).get("hit"),
        }
        for one in chosen
    ]
