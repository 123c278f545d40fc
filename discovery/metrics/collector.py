"""The figures of all campaigns in Prometheus' terms, read from the records when they are asked for.

Nothing is counted in this process, so that any number of servers say the same, and one that starts
later misses nothing. Labels are campaigns (the newest `MOST_CAMPAIGNS`), states, queues and kinds:
candidates, formulas and workers are never labels, for there is no end of them. Every count is
answered by an index.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from agents.verify.choice.budget import core_time
from db import queries
from db.connection import current_database
from db.documents import Campaign
from db.events import server_time
from db.states import CalculationState, CampaignState, State

MOST_CAMPAIGNS = 50
COUNTED_EVENTS = ("stale_write_refused", "learning", "repair")
QUEUES = {
    "evaluate": (State.PROPOSED, State.EVALUATED),
    "relax": (State.RELAXING,),
    "screen": (State.RELAXED,),
    "dft": (State.SELECTED, State.VERIFYING),
}
PREFIX = "discovery"


class CampaignCollector(Collector):
    """Reads the figures; the process must be connected to the database."""

    def describe(self) -> Iterator[Metric]:
        """Say nothing at registration: there may be no database yet."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Read every figure of every campaign."""
        now = server_time()
        campaigns = list(Campaign.objects.order_by("-updated_at").limit(MOST_CAMPAIGNS))
        yield from _candidates(campaigns)
        yield from _queue_ages(campaigns, now)
        yield from _leaders(campaigns, now)
        yield from _loops(campaigns)
        yield from _events(campaigns)
        yield from _dft(campaigns)
        yield _models(campaigns)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=labels)


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"{PREFIX}_{name}", text, labels=labels)


def _candidates(campaigns: list[Campaign]) -> Iterator[Metric]:
    now = _gauge("candidates", "Candidates that are in a state.", "campaign", "state")
    ever = _counter(
        "candidates_reached", "Candidates that ever came into a state.", "campaign", "state"
    )
    for campaign in campaigns:
        for state in State:
            labels = [campaign.name, str(state)]
            now.add_metric(labels, queries.count_state(campaign.name, state))
            ever.add_metric(labels, queries.count_reached(campaign.name, state))
    yield now
    yield ever


def _queue_ages(campaigns: list[Campaign], now: datetime) -> Iterator[Metric]:
    ages = _gauge(
        "queue_oldest_seconds",
        "How long the candidate that was proposed first of those waiting is in its state.",
        "campaign",
        "queue",
    )
    for campaign in campaigns:
        for queue, states in QUEUES.items():
            ages.add_metric([campaign.name, queue], oldest_seconds(campaign.name, states, now))
    yield ages


def oldest_seconds(campaign: str, states: tuple[State, ...], now: datetime) -> float:
    """Return how long the candidate that was proposed first is in one of these states, s."""
    ages = [0.0]
    for state in states:
        found = current_database()["candidates"].find_one(
            {"campaign": campaign, "state": str(state)},
            {"history": {"$slice": -1}, "seq": 1},
            sort=[("seq", 1)],
            hint=queries.BY_STATE,
        )
        if found and found.get("history"):
            ages.append((now - found["history"][-1]["at"]).total_seconds())
    return max(ages)


def _leaders(campaigns: list[Campaign], now: datetime) -> Iterator[Metric]:
    states = _gauge("campaign_state", "1 for the state a campaign is in.", "campaign", "state")
    left = _gauge(
        "leader_seconds_left",
        "How long the lead of a campaign's loop lasts unless renewed; below zero: it expired; "
        "zero: the campaign runs without one.",
        "campaign",
    )
    age = _gauge("leader_age_seconds", "Since the loop renewed its lead.", "campaign")
    for campaign in campaigns:
        for state in CampaignState:
            states.add_metric([campaign.name, str(state)], float(campaign.state == str(state)))
        if campaign.leader:
            seconds = (campaign.leader["expires_at"] - now).total_seconds()
            left.add_metric([campaign.name], seconds)
            age.add_metric([campaign.name], (now - campaign.updated_at).total_seconds())
        elif campaign.state == str(CampaignState.RUNNING):
            left.add_metric([campaign.name], 0.0)
    yield states
    yield left
    yield age


def _loops(campaigns: list[Campaign]) -> Iterator[Metric]:
    named = {
        "ticks": _counter("loop_ticks", "Ticks of the loop.", "campaign"),
        "tick_seconds": _counter("loop_tick_seconds", "Time of these ticks.", "campaign"),
        "leases_taken_back": _counter(
            "leases_taken_back", "Leases that expired, or whose workers died.", "campaign"
        ),
    }
    for campaign in campaigns:
        for key, metric in named.items():
            metric.add_metric([campaign.name], float((campaign.figures or {}).get(key, 0)))
    yield from named.values()


def _events(campaigns: list[Campaign]) -> Iterator[Metric]:
    counted = _counter("events", "Events of a kind.", "campaign", "kind")
    events = current_database()["events"]
    for campaign in campaigns:
        for kind in COUNTED_EVENTS:
            number = events.count_documents({"campaign": campaign.name, "kind": kind})
            counted.add_metric([campaign.name, kind], number)
    yield counted


def _dft(campaigns: list[Campaign]) -> Iterator[Metric]:
    spent = _counter("dft_core_seconds", "Core-seconds of DFT, measured.", "campaign")
    flight = _gauge(
        "dft_core_seconds_in_flight",
        "Core-seconds of DFT, estimated, of what is not done yet.",
        "campaign",
    )
    for campaign in campaigns:
        found = core_time(campaign.name, None)
        spent.add_metric([campaign.name], found.spent)
        flight.add_metric([campaign.name], found.in_flight)
    yield spent
    yield flight
    calculations = _gauge("calculations", "Calculations in a state, of all campaigns.", "state")
    for state in CalculationState:
        number = current_database()["calculations"].count_documents({"state": str(state)})
        calculations.add_metric([str(state)], number)
    yield calculations


def _models(campaigns: list[Campaign]) -> Metric:
    models = InfoMetricFamily(
        f"{PREFIX}_model", "Version of the property head that is live.", labels=["campaign"]
    )
    for campaign in campaigns:
        generator: dict[str, Any] = (campaign.resolved or {}).get("generator") or {}
        version = campaign.live_model or generator.get("head") or "unknown"
        models.add_metric([campaign.name], {"version": str(version)})
    return models
