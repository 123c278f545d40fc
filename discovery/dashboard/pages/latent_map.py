"""The latent map of a campaign: a point, or a row of the table beside it, opens a candidate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import html
from dash.development.base_component import Component

from db import campaigns
from discovery.dashboard import markup
from discovery.dashboard.frame import ADDRESS
from discovery.dashboard.latent_map import KINDS, NOT_VERIFIED, LatentMap, draw_map, read_map
from discovery.dashboard.later import Foreign, answer_later, later, text_of
from discovery.dashboard.links import candidate_link
from discovery.dashboard.page import Address, NoSuchPage, Page, address_of
from discovery.dashboard.pictures import picture
from discovery.dashboard.shared import Shared, StillReading
from discovery.figures.figure import NothingToShow

if TYPE_CHECKING:
    import pandas
    from dash import Dash

MAP = "/campaign/{campaign}/map"
PART, GRAPH = "map-part", "map-graph"
ROWS = 25


def layout(address: Address) -> list[Component]:
    """Show the map of a campaign, as soon as it is read."""
    name = address.values["campaign"]
    campaigns.load(name)
    kind = address.query.get("codes", "proposed")
    if kind not in KINDS:
        raise NoSuchPage(f"codes are {' or '.join(KINDS)}")
    page = address.query.get("page", "1")
    if not (page.isascii() and page.isdigit() and len(page) < 7 and int(page) > 0):
        raise NoSuchPage(f"a page is a number from 1, not {page[:20]!a}")
    about = {"campaign": name, "codes": kind, "page": int(page)}
    return [
        markup.heading("Latent map of ", name),
        _choice(name, kind),
        later(PART, about, "Reading the codes of all candidates …"),
    ]


def _choice(campaign: str, kind: str) -> Component:
    links = [
        html.Li(
            html.Span(words.capitalize(), **markup.aria(current="page"))
            if name == kind
            else markup.link(
                words.capitalize(), address_of(MAP, {"campaign": campaign}, {"codes": name})
            )
        )
        for name, words in KINDS.items()
    ]
    return html.Nav(html.Ul(links), className="siblings", **markup.aria(label="Which codes"))


def shown(about: Any) -> list[Component]:
    """Make picture and table from what a browser says the page is about."""
    if not isinstance(about, dict) or about.get("codes") not in KINDS:
        raise Foreign("a map is of a campaign and of one kind of codes")
    page = about.get("page")
    if not isinstance(page, int) or page < 1:
        raise Foreign("a page is a number from 1")
    campaign, kind = text_of(about.get("campaign")), about["codes"]
    try:
        found = READ.get(campaign)
    except StillReading as reading:
        return [markup.message(f"There is no map yet: {reading}.")]
    if isinstance(found, str):
        return [markup.message(f"There is no map yet: {found}.")]
    own = found.points[found.points["codes"] == kind]
    if own.empty:
        return [markup.message(f"There are no {KINDS[kind]} with an energy yet.")]
    return [
        html.Div(
            [_picture(found, kind), _table(own, campaign, kind, page)], className="map-and-table"
        )
    ]


def _picture(found: LatentMap, kind: str) -> Component:
    own = found.points[found.points["codes"] == kind]
    of = "" if len(own) == found.totals[kind] else f" of {found.totals[kind]:,}, evenly drawn,"
    caption = (
        f"{len(own):,}{of} {KINDS[kind]} of {found.generator} on the first two principal "
        f"components of all codes of the campaign; energies by {found.potential}, the colours end "
        "at the 5th and 95th percentile. A click on a point opens the candidate."
    )
    alt = f"Scatter plot of {len(own):,} {KINDS[kind]}; the same candidates are in the table"
    figure = draw_map(found, kind)
    return picture(figure, caption, alt, name=GRAPH, height="34rem")


def _table(own: pandas.DataFrame, campaign: str, kind: str, page: int) -> Component:
    ordered = own.sort_values(["formation_energy_eV_per_atom", "id"])
    last = -(-len(ordered) // ROWS)
    page = min(page, last)
    part = ordered.iloc[(page - 1) * ROWS : page * ROWS]
    rows = [
        [
            candidate_link(one.id),
            markup.formula(one.formula),
            markup.number(float(one.formation_energy_eV_per_atom)),
            one.state if one.outcome == NOT_VERIFIED else one.outcome,
            markup.number(float(one.pc1), 2),
            markup.number(float(one.pc2), 2),
        ]
        for one in part.itertuples()
    ]
    columns = ["Candidate", "Formula", "E_f (eV/atom)", "State", "1st", "2nd"]
    caption = f"The points as a table, the lowest energies first; page {page:,} of {last:,}"
    turns = [
        html.Li(
            markup.link(
                words,
                address_of(MAP, {"campaign": campaign}, {"codes": kind, "page": str(target)}),
            )
        )
        for words, target in (
            *([("Previous page", page - 1)] if page > 1 else []),
            *([("Next page", page + 1)] if page < last else []),
        )
    ]
    pages = html.Nav(html.Ul(turns), className="siblings", **markup.aria(label="Pages of points"))
    return html.Div(
        [
            markup.table(caption, columns, rows, numeric=[2, 4, 5], name="map-points"),
            *([pages] if turns else []),
        ]
    )


def callbacks(app: Dash) -> None:
    """Draw the map when its page stands; follow clicks on points."""
    from dash import ClientsideFunction, Input, Output

    answer_later(app, PART, shown)
    app.clientside_callback(
        ClientsideFunction(namespace="pictures", function_name="open_point"),
        Output(ADDRESS, "href"),
        Input(GRAPH, "clickData"),
        prevent_initial_call=True,
    )


def map_or_reason(campaign: str) -> LatentMap | str:
    """Read the map of a campaign, or why there is none: an answer too, as dear as a map."""
    try:
        return read_map(campaign)
    except NothingToShow as nothing:
        return nothing.reason


READ: Shared[LatentMap | str] = Shared(map_or_reason)
PAGE = Page(
    path=MAP,
    title=lambda address: f"Latent map of {address.values['campaign']}",
    layout=layout,
    label="Latent map",
    query=frozenset({"codes", "page"}),
    callbacks=callbacks,
)
