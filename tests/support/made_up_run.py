"""A campaign whose records are made up, watched as `discovery run` shows one: run as a program."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console

from db.states import FUNNEL, State
from discovery.campaign.config import parse_campaign
from discovery.campaign.loop import Tick
from discovery.reports import live_view, remaining
from discovery.reports.summary import print_summary

CAMPAIGN = """
name: a-campaign-with-a-long-name
generator: perov5
targets: [{property: band_gap, min: 0.5}]
budget: {rounds: 4}
propose: {proposers: [{kind: random, batch: 4}]}
verify: {backend: gpaw, max_submitted: 6, max_completed: 4, launchers: 2}
"""


def best(number: int) -> dict[str, Any]:
    energy = "formation_energy_per_atom"
    return {
        "id": f"a-campaign-with-a-long-name-{number:012x}",
        **{"formula": "K2NaGaAs2", "state": "verified", "hit": number == 0},
        **{energy: -0.612, "band_gap": 1.234, f"{energy}_potential": -0.634},
        "energy_above_hull_potential": 0.041,
    }


def summary(step: int) -> dict[str, Any]:
    """A campaign that goes on evenly, as `discovery.reports.status.status` describes it."""
    reached = {str(state): 400 * step // (place + 1) for place, state in enumerate(FUNNEL)}
    counts = {str(State.REJECTED): 300 * step, str(State.PROPOSED): 100 * step}
    hours = {"spent": 0.01 * step, "in_flight": 0.02, "limit": 0.5}
    dft = {"submitted": 5, "running": 3, "completed": 2, "failed": 0, "hits": 1, "references": 4}
    follow_up = dict.fromkeys(("chosen", "finished", "stable", "unstable", "undecided"), 0)
    return {
        **{"campaign": "a-campaign-with-a-long-name", "state": "running", "stop_reason": None},
        **{"candidates": 400 * step, "reached": reached, "counts": counts, "arms": []},
        **{"dft": {**dft, "core_hours": hours}, "model_version": "campaign-0123456789ab"},
        **{"best": [best(number) for number in range(5)], "rejections": {"smact": 300 * step}},
        **{"hull": {"placed": 0, "refused": {}}, "follow_up": follow_up, "learning": []},
        **{"paper": None, "rediscovered": {"of": 0}, "generator": {"name": "perov5"}},
    }


def watch() -> None:
    """Let fifteen ticks go by, and sum up."""
    remaining.FIRST_SECONDS = 0.5
    live_view.REFRESH_SECONDS, live_view.LINE_SECONDS = 0.05, 0.5
    step = 0
    live_view.status = lambda name, funnels: summary(step)
    console = Console(stderr=True)
    view = live_view.LiveView(parse_campaign(CAMPAIGN, source="here"), console)
    waiting = ["relax: 11", "dft: 3 candidates, 0.1 core-hours"]
    with view.shown():
        time.sleep(0.2)
        for step in range(1, 16):
            view(Tick(round=1 + step // 5, waiting_for=waiting))
            time.sleep(0.15)
            if step == 8:
                console.print("the database is away: waiting for it")
    print_summary({**summary(15), "state": "complete"}, Console())


if __name__ == "__main__":
    watch()
