"""What stands around every page: header, navigation, footer, and the file that holds them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

from dash import dcc, html
from dash.development.base_component import Component

from discovery.dashboard.markup import aria

PRODUCT = "discovery"
PAGE, ADDRESS, TITLE = "page", "address", "page-title"

#: Scripts and styles are files of the packages; nothing is fetched from another machine.
INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
{%metas%}
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{%title%}</title>
<link rel="icon" type="image/svg+xml" href="/assets/icon.svg">
{%css%}
</head>
<body>
<noscript><p class="message wrong">These pages are drawn by scripts, which are switched off here.
Without them: <code>discovery status</code>, <code>discovery query</code>,
<code>discovery show</code>.</p></noscript>
{%app_entry%}
{%config%}
{%scripts%}
{%renderer%}
</body>
</html>
"""


def frame(neighbours: Mapping[str, str]) -> Component:
    """Make the frame; a page is put into its ``main``.

    Args:
        neighbours: Name and address of other dashboards.
    """
    others = [html.Li(html.A(name, href=url, rel="noreferrer")) for name, url in neighbours.items()]
    header = html.Header(
        [
            html.A("Skip to the content", href=f"#{PAGE}", className="skip"),
            dcc.Link(PRODUCT, href="/", className="product"),
            html.Nav(
                html.Ul([html.Li(dcc.Link("Campaigns", href="/")), *others]), **aria(label="Pages")
            ),
        ]
    )
    footer = html.Footer(
        f"{PRODUCT} {version('discovery')}; read-only: nothing here changes a record"
    )
    return html.Div(
        [
            dcc.Location(id=ADDRESS, refresh="callback-nav"),
            dcc.Store(id=TITLE),
            header,
            html.Main(html.P("Reading the database …"), id=PAGE, tabIndex="-1"),
            footer,
        ],
        className="frame",
    )
