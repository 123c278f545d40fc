"""The part of a campaign's page that changes while it runs: funnel, rejections, workers, queues."""

from __future__ import annotations

from typing import Any

from dash import html
from dash.development.base_component import Component

from db.states import FUNNEL, State
from discovery.dashboard import markup
from discovery.dashboard.links import candidates_address, quoted
from discovery.dashboard.live import Snapshot


def now(campaign: str, snapshot: Snapshot) -> list[Component]:
    """Make the part that is made anew while the campaign runs."""
    return [
        _standing(snapshot),
        html.Div([_funnel(campaign, snapshot), _rejections(campaign, snapshot)], className="pair"),
        _workforce(snapshot),
    ]


def _standing(snapshot: Snapshot) -> Component:
    dft, hours = snapshot.dft, snapshot.core_hours
    spent = f"{markup.number(hours['spent'])} core-hours"
    if hours["limit"] is not None:
        spent += f" of {markup.number(hours['limit'])}"
    values = {
        "State": snapshot.state,
        "Ended because": snapshot.stop_reason,
        "Loop": _loop(snapshot),
        "Candidates": markup.number(sum(snapshot.counts.values())),
        "DFT": f"{dft['completed']} completed, {dft['running']} running, {dft['failed']} failed",
        "Hits": markup.number(dft["hits"]),
        "Spent on DFT": spent,
        "As of": markup.when(snapshot.at),
    }
    known = {name: value for name, value in values.items() if value is not None}
    return markup.section("Now", markup.facts(known), name="now")


def _loop(snapshot: Snapshot) -> str | None:
    if snapshot.lead is None:
        return "none leads it: discovery repair lists it" if snapshot.running else None
    if snapshot.lead < 0:
        return f"its lead ended {-snapshot.lead:.0f} s ago: discovery repair lists it"
    return "leads it"


def _funnel(campaign: str, snapshot: Snapshot) -> Component:
    total = max(snapshot.reached[str(State.PROPOSED)], 1)
    rates = snapshot.per_minute
    rows = []
    for state in (*FUNNEL, State.REJECTED, State.FAILED):
        reached, now = snapshot.reached[str(state)], snapshot.counts[str(state)]
        share = reached / total
        bar = html.Span(className="bar", style={"width": f"{100 * share:.1f}%"})
        found = f'state = "{state}"'
        rows.append(
            [
                str(state),
                markup.number(reached),
                html.Span(bar, className="track", **markup.aria(hidden="true")),
                f"{100 * share:.1f} %",
                markup.link(markup.number(now), candidates_address(campaign, where=found))
                if now
                else "0",
                *([markup.number(rates[str(state)], 0)] if rates else []),
            ]
        )
    bars = html.Th(html.Span("Share as a bar", className="unseen"), scope="col")
    columns: list[Any] = ["State", "Ever reached", bars, "Share", "Now in it"]
    if rates:
        columns.append("Each minute")
    caption = "Candidates by the states of the funnel; shares of all that were proposed"
    numeric = [1, 3, 4, 5] if rates else [1, 3, 4]
    return markup.section(
        "Funnel",
        markup.table(caption, columns, rows, numeric=numeric, name="funnel"),
        name="funnel-part",
    )


def _rejections(campaign: str, snapshot: Snapshot) -> Component:
    if not snapshot.rejections:
        return markup.section(
            "Rejected", markup.message("No candidate was rejected."), name="rejected"
        )
    rows = [
        [
            reason,
            markup.link(
                markup.number(number),
                candidates_address(campaign, where=f"reason = {quoted(reason)}"),
            ),
        ]
        for reason, number in snapshot.rejections.items()
    ]
    table = markup.table(
        "Rejected candidates by the rule that rejected them",
        ["Rule", "Candidates"],
        rows,
        numeric=[1],
        name="rejected-by",
    )
    return markup.section("Rejected", table, name="rejected")


def _workforce(snapshot: Snapshot) -> Component:
    queues = markup.table(
        "Queues: candidates in the states of each, and how long the first of them waits",
        ["Queue", "Candidates", "Held by workers", "Oldest (s)"],
        [
            [
                one.name,
                markup.number(one.waiting),
                markup.number(one.held),
                _age(one.oldest_seconds),
            ]
            for one in snapshot.queues
        ],
        numeric=[1, 2, 3],
        name="queues",
    )
    if not snapshot.workers:
        workers: Component = markup.message("No worker holds a candidate now.")
    else:
        workers = markup.table(
            "Workers that hold candidates or run a calculation",
            ["Worker", "Task", "Process"],
            [[one.name, one.task, one.health] for one in snapshot.workers],
            name="workers",
        )
    return markup.section("Workers and queues", queues, workers, name="workforce")


def _age(seconds: float) -> str:
    return markup.number(seconds, 0) if seconds else markup.NOTHING
