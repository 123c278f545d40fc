"""The Dash application: pages by their addresses, every error in a sentence."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymongo.errors import PyMongoError

from db.uri import DatabaseUnavailable
from discovery.dashboard import markup
from discovery.dashboard.frame import ADDRESS, INDEX, PAGE, PRODUCT, TITLE, frame
from discovery.dashboard.guard import guard, is_own
from discovery.dashboard.page import Address, NoSuchPage, Page, address_of, find_page
from discovery.dashboard.pages import PAGES

if TYPE_CHECKING:
    from dash import Dash
    from dash.development.base_component import Component

_LOG = logging.getLogger(__name__)
ASSETS = Path(__file__).with_name("assets")


def make_dashboard(
    pages: Sequence[Page] = PAGES, *, neighbours: Mapping[str, str] | None = None
) -> Dash:
    """Make the dashboard; the process must be connected to the database.

    Args:
        pages: The pages it has.
        neighbours: Name and address of other dashboards, which are linked.
    """
    from dash import ClientsideFunction, Dash, Input, Output

    app = Dash(
        "discovery.dashboard",
        assets_folder=str(ASSETS),
        index_string=INDEX,
        title=PRODUCT,
        update_title="",
        serve_locally=True,
        suppress_callback_exceptions=True,  # pages are put in later than the frame
        add_log_handler=False,
        use_async=False,
        enable_mcp=False,
    )
    app.layout = frame(neighbours or {})

    @app.callback(
        Output(PAGE, "children"),
        Output(TITLE, "data"),
        Input(ADDRESS, "pathname"),
        Input(ADDRESS, "search"),
        on_error=_broken,
    )
    def show_page(path: object, search: object) -> tuple[Any, str]:
        return open_page(pages, path, search)

    app.clientside_callback(
        ClientsideFunction(namespace="discovery", function_name="arrive"), Input(TITLE, "data")
    )
    for page in pages:
        if page.callbacks is not None:
            page.callbacks(app)
    guard(app)
    return app


def open_page(
    pages: Sequence[Page], path: object, search: object
) -> tuple[Sequence[Component], str]:
    """Make a page, or the page that says why there is none.

    Args:
        pages: All there are.
        path: What the browser says is the path of its address.
        search: What follows it.

    Returns:
        Content and title of the window.
    """
    try:
        page, address = find_page(pages, path, search)
        content = [*siblings(pages, page, address), *page.layout(address)]
        return content, f"{page.title(address)} – {PRODUCT}"
    except NoSuchPage as error:
        return refusal("No such page", str(error)), f"No such page – {PRODUCT}"
    except (PyMongoError, DatabaseUnavailable) as error:
        _LOG.warning("a page was not made: the database does not answer: %s", error)
        text = f"the database does not answer ({type(error).__name__})"
        return refusal("No answer", text), f"No answer – {PRODUCT}"
    except ValueError as error:
        if not is_own(error):
            raise
        return refusal("Not possible", str(error)), f"Not possible – {PRODUCT}"


def _broken(error: Exception) -> tuple[Sequence[Component], str]:
    """Write a fault of the program into the log, and let the page say that there is one."""
    _LOG.error("a page was not made", exc_info=error)
    text = f"this page has a fault ({type(error).__name__}): the log of discovery serve tells more"
    return refusal("A fault", text), f"A fault – {PRODUCT}"


def siblings(pages: Sequence[Page], shown: Page, address: Address) -> list[Component]:
    """Make the links to the other pages of a campaign; none on pages of no campaign."""
    if "campaign" not in address.values:
        return []
    from dash import html

    links = [
        html.Li(
            html.Span(page.label, **markup.aria(current="page"))
            if page is shown
            else markup.link(page.label, address_of(page.path, address.values))
        )
        for page in pages
        if page.label is not None
    ]
    name = f"Pages of the campaign {address.values['campaign']}"
    return [html.Nav(html.Ul(links), className="siblings", **markup.aria(label=name))]


def refusal(title: str, sentence: str) -> list[Component]:
    """Make a page that says in a sentence why there is nothing else."""
    return [
        markup.heading(title),
        markup.message(sentence, wrong=True),
        markup.link("All campaigns", "/"),
    ]
