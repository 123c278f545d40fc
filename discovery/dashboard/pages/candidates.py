"""The candidates of a campaign as a table: filtered, sorted, a page at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from dash import Dash, dcc, html, no_update
from dash.development.base_component import Component

from db import campaigns
from db.filters import Field, InvalidFilter, UnknownName, find_field
from db.filters.fields import BY_NAME, Kind
from db.pages import TooSlow, count, read_page
from db.property_table import STANDARD_PREDICTIONS
from db.selection import Selection, select
from discovery.dashboard import markup
from discovery.dashboard.frame import ADDRESS
from discovery.dashboard.links import (
    CANDIDATES,
    candidate_link,
    candidates_address,
)
from discovery.dashboard.page import (
    MOST_CHARACTERS,
    Address,
    NoSuchPage,
    Page,
    address_of,
    find_page,
)

PAGE_SIZE = 50
MOST_PAGES = 100_000
MOST_FIELDS = 20
#: What a person waits for a page, and for the number of all candidates beside it, s.
READ_SECONDS, COUNT_SECONDS = 8.0, 5.0
MOST_COUNTED = 10_000

DEFAULT_FIELDS = (
    *("formula", "state", "proposer"),
    *("formation_energy_per_atom_potential", "energy_above_hull_potential"),
    *("formation_energy_per_atom", "band_gap", "hit"),
)
#: What people look for first, as filters that they may go on from.
SHORTCUTS = {
    "all": {},
    "verified": {"where": 'state = "verified"', "sort": "formation_energy_per_atom"},
    "hits": {"where": "hit = TRUE", "sort": "formation_energy_per_atom"},
    "lowest energy by the potential": {
        "where": "formation_energy_per_atom_potential IS KNOWN",
        "sort": "formation_energy_per_atom_potential",
    },
    "failed": {"where": 'state = "failed"', "fields": "formula,state,error"},
}
EXAMPLE = 'band_gap >= 0.5 AND elements HAS "Ga"'
WHERE, FIELDS, APPLY = "where", "fields", "apply"
STATUS, TOTAL, UNCOUNTED = "rows-status", "rows-total", "rows-uncounted"


def layout(address: Address) -> list[Component]:
    """Show a page of the candidates that a filter leaves."""
    campaign, query = address.values["campaign"], address.query
    campaigns.load(campaign)
    top = [markup.heading("Candidates of ", campaign), _shortcuts(campaign), *_form(query)]
    try:
        return [*top, *_rows(campaign, query), _names()]
    except (InvalidFilter, UnknownName, TooSlow) as error:
        return [*top, markup.message(str(error), wrong=True), _names()]


def _rows(campaign: str, query: Mapping[str, str]) -> list[Component]:
    """Read and lay out one page."""
    page, chosen = _page_number(query.get("page")), _selection(campaign, query)
    first = PAGE_SIZE * (page - 1)
    rows = read_page(chosen, campaign, first=first, size=PAGE_SIZE + 1, seconds=READ_SECONDS)
    more, rows = len(rows) > PAGE_SIZE, rows[:PAGE_SIZE]
    if not rows:
        text = "No candidate fits." if page == 1 else f"There is no page {page}."
        return [html.P(text, className="message", id=STATUS, role="status", tabIndex="-1")]
    fields = [one for one in chosen.fields or () if one.name != "id"]
    heads = [_head(campaign, query, one) for one in (find_field("id"), *fields)]
    body = [
        [candidate_link(row["id"]), *(_cell(one, row[one.name]) for one in fields)] for row in rows
    ]
    numeric = [
        place
        for place, one in enumerate(fields, start=1)
        if one.kind in (Kind.NUMBER, Kind.INTEGER)
    ]
    status: list[Any] = [f"Candidates {first + 1:,} to {first + len(rows):,}"]
    if more:  # how many more is counted while the page is looked at already
        status += [html.Span(" …", id=TOTAL), dcc.Store(id=UNCOUNTED, data=True)]
    else:
        status.append(f" of {first + len(rows):,}.")
    return [
        html.P(status, id=STATUS, role="status", tabIndex="-1"),
        markup.table(f"Candidates of {campaign}", heads, body, numeric=numeric, name="candidates"),
        _turning(campaign, query, page, more),
    ]


def _selection(campaign: str, query: Mapping[str, str]) -> Selection:
    names = [one.strip() for one in (query.get("fields") or "").split(",") if one.strip()]
    if len(names) > MOST_FIELDS:
        raise InvalidFilter(f"at most {MOST_FIELDS} columns are shown, not {len(names)}")
    return select(
        campaign,
        where=query.get("where") or None,
        sort=query.get("sort") or None,
        fields=names or DEFAULT_FIELDS,
    )


def _page_number(text: str | None) -> int:
    if text is None:
        return 1
    if not (text.isascii() and text.isdigit() and len(text) < 7 and 0 < int(text) <= MOST_PAGES):
        raise NoSuchPage(f"a page is a number from 1 to {MOST_PAGES:,}, not {text[:20]!a}")
    return int(text)


def total(path: object, search: object) -> str:
    """Say how many candidates the filter of an address leaves.

    Args:
        path: What the browser says is its address.
        search: What follows it.
    """
    _, address = find_page([PAGE], path, search)
    campaign = address.values["campaign"]
    chosen = _selection(campaign, address.query)
    found = count(chosen, campaign, most=MOST_COUNTED, seconds=COUNT_SECONDS)
    if found.whole:
        return f" of {found.count:,}."
    if found.count:
        return f" of more than {found.count:,}."
    return f"; counting them all takes longer than {COUNT_SECONDS:g} s and was given up."


def _head(campaign: str, query: Mapping[str, str], field: Field) -> Component:
    """Make the head of a column: its name as filters use it, its meaning, a link that sorts."""
    sort = query.get("sort") or ""
    sorted_by = bool(sort) and find_field(sort.removeprefix("-")).path == field.path
    descending = sorted_by and sort.startswith("-")
    known = field.kind in (Kind.NUMBER, Kind.INTEGER, Kind.TRUTH) and field.name != "natoms"
    meaning = html.Span(field.meaning if known else "", className="meaning")
    given: dict[str, Any] = (
        {"className": "number"} if field.kind in (Kind.NUMBER, Kind.INTEGER) else {}
    )
    if field.kind is Kind.ELEMENTS:
        return html.Th([markup.name(field.name), meaning], scope="col", **given)
    wanted = f"-{field.name}" if sorted_by and not descending else field.name
    arrow = " \N{BLACK DOWN-POINTING TRIANGLE}" if descending else " \N{BLACK UP-POINTING TRIANGLE}"
    link = markup.link(
        [
            markup.name(field.name),
            html.Span(arrow if sorted_by else "", **markup.aria(hidden="true")),
        ],
        candidates_address(campaign, **{**query, "sort": wanted, "page": None}),
        title=f"Sort by {field.name}, {'largest' if wanted.startswith('-') else 'smallest'} first",
    )
    order = {"sort": "descending" if descending else "ascending"} if sorted_by else {}
    return html.Th([link, meaning], scope="col", **given, **markup.aria(**order))


def _cell(field: Field, value: Any) -> Any:
    if value is None:
        return None
    if field.name == "formula":
        return markup.formula(str(value))
    if field.kind is Kind.TRUTH:
        return "yes" if value else "no"
    if field.kind is Kind.TIME:
        return markup.when(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return markup.number(value) if field.name != "space_group" else str(value)
    if isinstance(value, list):
        return ", ".join(str(one) for one in value)
    text = str(value)
    return text if len(text) < 40 else html.Span(f"{text:.400}", className="prose")


def _turning(campaign: str, query: Mapping[str, str], page: int, more: bool) -> Component:
    """Make the links to the neighbouring pages."""
    links = []
    if page > 1:
        links.append(("First page", 1))
        links.append(("Previous page", page - 1))
    if more:
        links.append(("Next page", page + 1))
    items = [
        html.Li(
            markup.link(
                text, candidates_address(campaign, **{**query, "page": str(to) if to > 1 else None})
            )
        )
        for text, to in links
    ]
    return html.Nav(html.Ul(items), className="siblings", **markup.aria(label="Pages of the table"))


def _shortcuts(campaign: str) -> Component:
    items = [
        html.Li(markup.link(text, candidates_address(campaign, **query)))
        for text, query in SHORTCUTS.items()
    ]
    return html.Nav(
        html.Ul(items), className="siblings", **markup.aria(label="Filters that many want")
    )


def _form(query: Mapping[str, str]) -> list[Component]:
    return [
        html.Div(
            [
                html.Label("Filter, in the language of discovery query", htmlFor=WHERE),
                dcc.Input(
                    id=WHERE,
                    type="text",
                    value=query.get("where", ""),
                    placeholder=EXAMPLE,
                    maxLength=10_000,
                    autoComplete="off",
                    spellCheck=False,
                ),
                html.Label("Columns, separated by commas", htmlFor=FIELDS),
                dcc.Input(
                    id=FIELDS,
                    type="text",
                    value=query.get("fields", ""),
                    placeholder=",".join(DEFAULT_FIELDS[:3]) + ",…",
                    maxLength=2_000,
                    autoComplete="off",
                    spellCheck=False,
                ),
                html.Button("Show", id=APPLY, n_clicks=0),
            ],
            className="form",
            role="search",
            **markup.aria(label="Filter of the table"),
        )
    ]


def _names() -> Component:
    """List the names that filters, orders and columns may use."""
    fields = [*BY_NAME.values(), *(find_field(name) for name in STANDARD_PREDICTIONS)]
    table = markup.table(
        "Names for filters, columns and the order",
        ["Name", "Meaning"],
        [[html.Code(one.name), html.Span(one.meaning, className="prose")] for one in fields],
    )
    examples = [
        EXAMPLE,
        'state = "verified" AND NOT is_metal = TRUE',
        'energy_above_hull_potential <= 0.1 AND elements HAS ONLY "Ga","In","N"',
        "band_gap_megnet IS KNOWN",
    ]
    return html.Details(
        [
            html.Summary("How filters are written"),
            html.Ul([html.Li(html.Code(one)) for one in examples]),
            table,
        ]
    )


def search_for(where: object, fields: object, search: object) -> str:
    """Write the query of the address that shows what was typed.

    Args:
        where: What the browser says is the filter.
        fields: What it says are the columns.
        search: The query of its address now, from which the order is kept.

    Raises:
        NoSuchPage: One of them is no text, or too long.
    """
    given = [
        one.strip() for one in (where or "", fields or "", search or "") if isinstance(one, str)
    ]
    if len(given) < 3 or sum(map(len, given)) > MOST_CHARACTERS:
        raise NoSuchPage("a filter is a text of at most 10,000 characters")
    filter_, columns, known = given
    sort = parse_qs(known.removeprefix("?")).get("sort", [""])[0]
    return address_of("", {}, {"where": filter_, "fields": columns, "sort": sort})


def callbacks(app: Dash) -> None:
    """Let what is typed become an address, and all candidates be counted."""
    from dash import Input, Output, State

    @app.callback(
        Output(ADDRESS, "search"),
        Input(APPLY, "n_clicks"),
        Input(WHERE, "n_submit"),
        Input(FIELDS, "n_submit"),
        State(WHERE, "value"),
        State(FIELDS, "value"),
        State(ADDRESS, "search"),
        prevent_initial_call=True,
    )
    def show(
        clicks: object, first: object, second: object, where: object, fields: object, search: object
    ) -> Any:
        if not (clicks or first or second):  # the form was just put into the page
            return no_update
        return search_for(where, fields, search)

    app.callback(
        Output(TOTAL, "children"),
        Input(UNCOUNTED, "data"),
        State(ADDRESS, "pathname"),
        State(ADDRESS, "search"),
    )(lambda _, path, search: total(path, search))


PAGE = Page(
    path=CANDIDATES,
    title=lambda address: f"Candidates of {address.values['campaign']}",
    layout=layout,
    label="Candidates",
    query=frozenset({"where", "sort", "fields", "page"}),
    callbacks=callbacks,
)
