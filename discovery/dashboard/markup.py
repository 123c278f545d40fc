"""The few forms that all pages are built of: headings, tables, facts, links, messages.

Text is given to Dash as text, which React writes as text: nothing that a candidate says can become
markup. `dcc.Markdown` and `dangerously_allow_html` are used nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

#: Of the heading that is given the focus when a page is opened by a link.
HEADING = "heading"
#: What stands where there is no value; read by a screen reader as what it is.
NOTHING = "–"
MINUS = "\N{MINUS SIGN}"
#: Characters of an error; the rest says nothing new.
MOST_SAID = 800

_COUNT = re.compile(r"(\d+(?:\.\d+)?)")


def aria(**values: str) -> dict[str, Any]:
    """Write attributes for screen readers: ``aria(label="Pages")``."""
    return {f"aria-{name}": value for name, value in values.items()}


def heading(*content: Any) -> Component:
    """Make the heading of a page; there is one on each."""
    return html.H1(list(content), id=HEADING, tabIndex="-1")


def section(title: str, *content: Any, name: str) -> Component:
    """Make a part of a page with its heading.

    Args:
        title: Of the part.
        content: What is in it.
        name: Of the part, unique on its page; the target of links.
    """
    label = f"{name}-title"
    return html.Section([html.H2(title, id=label), *content], id=name, **aria(labelledby=label))


def link(text: Any, address: str, **attributes: Any) -> Component:
    """Make a link to another page of the dashboard, see `page.address_of`."""
    return dcc.Link(text, href=address, **attributes)


def formula(text: str | None) -> Component:
    """Write a formula with its counts as subscripts."""
    parts = [part for part in _COUNT.split(text or NOTHING) if part]
    return html.Span(
        [html.Sub(part) if _COUNT.fullmatch(part) else part for part in parts], className="formula"
    )


def name(text: str) -> Component:
    """Write the name of a field so that a narrow column breaks it behind its underscores."""
    parts = [piece for part in text.split("_") for piece in ("_", html.Wbr(), part)][2:]
    return html.Span(parts)


def number(value: float | int | None, digits: int = 3) -> str:
    """Write a number for people: thousands apart, a true minus, a dash where it is unknown."""
    if value is None:
        return NOTHING
    text = f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"
    return text.replace("-", MINUS)


def when(value: datetime | str | None) -> Component:
    """Write a time as UTC, to the second."""
    if value is None:
        return html.Span(NOTHING)
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return html.Time(f"{at:%Y-%m-%d %H:%M:%S} UTC", dateTime=at.isoformat())


def facts(values: Mapping[str, Any]) -> Component:
    """Make a list of names and their values."""
    pairs = [
        html.Div([html.Dt(name), html.Dd(NOTHING if value is None else value)])
        for name, value in values.items()
    ]
    return html.Dl(pairs, className="facts")


def table(
    caption: str,
    columns: Sequence[Any],
    rows: Sequence[Sequence[Any]],
    *,
    numeric: Sequence[int] = (),
    name: str | None = None,
) -> Component:
    """Make a table; where it is wider than the screen it scrolls by itself, by keyboard too.

    Args:
        caption: What the rows are.
        columns: The heads; a `html.Th` is taken as it is.
        rows: The cells; the first of each row is its head.
        numeric: Columns that are aligned to the right.
        name: Id of the table.
    """
    right: dict[int, dict[str, Any]] = {place: {"className": "number"} for place in numeric}
    heads = [
        one if isinstance(one, html.Th) else html.Th(one, scope="col", **right.get(place, {}))
        for place, one in enumerate(columns)
    ]
    body = [
        html.Tr(
            [
                html.Th(cell, scope="row", **right.get(0, {}))
                if place == 0
                else html.Td(NOTHING if cell is None else cell, **right.get(place, {}))
                for place, cell in enumerate(row)
            ]
        )
        for row in rows
    ]
    given: dict[str, Any] = {} if name is None else {"id": name}
    return html.Div(
        html.Table(
            [html.Caption(html.Span(caption)), html.Thead(html.Tr(heads)), html.Tbody(body)],
            **given,
        ),
        className="scrolled",
        tabIndex="0",
        role="region",
        **aria(label=caption),
    )


def message(text: str, *, wrong: bool = False) -> Component:
    """Say something in a sentence; what is wrong is read out at once.

    Args:
        text: The sentence.
        wrong: Whether it is an error.
    """
    if not wrong:
        return html.P(text, className="message")
    sentence = " ".join(text.split())[:MOST_SAID]
    end = "" if sentence.endswith((".", "?", "!")) else "."
    return html.P(
        [html.Strong("Not possible: "), sentence, end],
        className="message wrong",
        role="alert",
        tabIndex="-1",
    )
