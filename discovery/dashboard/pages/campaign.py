"""One campaign: its funnel as it is now, who works, what was learned, what was found."""

from __future__ import annotations

from typing import Any

from dash import Dash, dcc, html, no_update
from dash.development.base_component import Component

from db import campaigns
from discovery.dashboard import campaign_record, markup
from discovery.dashboard.campaign_now import now
from discovery.dashboard.frame import ADDRESS
from discovery.dashboard.live import Watch
from discovery.dashboard.page import Address, NoSuchPage, Page, find_page

LIVE, TICK, PAUSE, SHOWN = "live", "live-tick", "live-pause", "live-shown"
#: How often a browser asks; what it costs decides how often the database is read (`shared`).
RUNNING_SECONDS, QUIET_SECONDS = 5, 60


def layout(address: Address) -> list[Component]:
    """Show a campaign."""
    name = address.values["campaign"]
    record = campaigns.load(name)
    snapshot = WATCH.snapshot(name)
    description = record.config.get("description")
    seconds = RUNNING_SECONDS if snapshot.running else QUIET_SECONDS
    return [
        markup.heading(name),
        *([html.P(f"{description}.")] if description else []),
        dcc.Interval(id=TICK, interval=1000 * seconds),
        dcc.Store(id=SHOWN, data=snapshot.at.isoformat()),
        html.Div(now(name, snapshot), id=LIVE),
        html.P(html.Button("Stop refreshing", id=PAUSE, n_clicks=0, type="button")),
        campaign_record.chosen(record),
        campaign_record.most_advanced(name),
        campaign_record.learning(name),
        campaign_record.settings(record),
    ]


def refresh(path: object, shown: object) -> tuple[Any, Any, Any]:
    """Answer a browser that asks whether something changed.

    Args:
        path: What the browser says is its address.
        shown: The moment that it shows, as text.

    Returns:
        The new part, its moment, and the pause until the next question, ms.
    """
    try:
        _, address = find_page([PAGE], path, "")
    except NoSuchPage:  # another page was opened meanwhile
        return no_update, no_update, no_update
    snapshot = WATCH.snapshot(address.values["campaign"])
    at = snapshot.at.isoformat()
    pause = 1000 * (RUNNING_SECONDS if snapshot.running else QUIET_SECONDS)
    if shown == at:
        return no_update, no_update, pause
    return now(address.values["campaign"], snapshot), at, pause


def callbacks(app: Dash) -> None:
    """Let the funnel be refreshed, and the refreshing be stopped."""
    from dash import ClientsideFunction, Input, Output, State

    app.callback(
        Output(LIVE, "children"),
        Output(SHOWN, "data"),
        Output(TICK, "interval"),
        Input(TICK, "n_intervals"),
        State(ADDRESS, "pathname"),
        State(SHOWN, "data"),
        prevent_initial_call=True,
    )(lambda ticks, path, shown: refresh(path, shown))
    app.clientside_callback(
        ClientsideFunction(namespace="discovery", function_name="pause"),
        Output(TICK, "disabled"),
        Output(PAUSE, "children"),
        Input(PAUSE, "n_clicks"),
        prevent_initial_call=True,
    )


WATCH = Watch()
PAGE = Page(
    path="/campaign/{campaign}",
    title=lambda address: address.values["campaign"],
    layout=layout,
    label="Overview",
    callbacks=callbacks,
)
