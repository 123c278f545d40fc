"""Parts of a page that take longer than the page: asked for when it stands, errors in sentences."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dash import dcc, html
from dash.development.base_component import Component
from pymongo.errors import PyMongoError

from db.uri import DatabaseUnavailable
from discovery.dashboard import markup
from discovery.dashboard.guard import is_own

if TYPE_CHECKING:
    from dash import Dash

_LOG = logging.getLogger(__name__)


def later(name: str, about: Any, words: str) -> Component:
    """Make the place of a part that comes later.

    Args:
        name: Of the part, unique in the dashboard.
        about: What the part is about, JSON; it comes back from the browser as foreign data.
        words: What is shown meanwhile.
    """
    waiting = html.P(words, className="message", role="status")
    return html.Div([html.Div(waiting, id=name), dcc.Store(id=f"{name}-about", data=about)])


def answer_later(app: Dash, name: str, make: Callable[[Any], Sequence[Component]]) -> None:
    """Let a part be filled in when its place is on a page.

    Args:
        app: The application.
        name: Of the part, as in `later`.
        make: Makes it from what the browser says it is about; checks that first, and raises
            `Foreign` where it is no such thing.
    """
    from dash import Input, Output

    @app.callback(
        Output(name, "children"),
        Input(f"{name}-about", "data"),
        on_error=lambda error: _broken(name, error),
    )
    def fill(about: Any) -> Sequence[Component]:
        try:
            return make(about)
        except (PyMongoError, DatabaseUnavailable) as error:
            _LOG.warning("%s was not made: the database does not answer: %s", name, error)
            text = f"the database does not answer ({type(error).__name__})"
        except ValueError as error:
            if not is_own(error):
                raise
            text = str(error)
        return [markup.message(text, wrong=True)]


def _broken(name: str, error: Exception) -> Sequence[Component]:
    """Write a fault of the program into the log, and let the part say that there is one."""
    _LOG.error("%s was not made", name, exc_info=error)
    text = f"this part has a fault ({type(error).__name__}): the log of discovery serve tells more"
    return [markup.message(text, wrong=True)]


class Foreign(ValueError):
    """A browser sent what no page of the dashboard sends."""


def text_of(about: Any, *, longest: int = 200) -> str:
    """Return what a browser sent as a text.

    Raises:
        Foreign: It is none, or too long.
    """
    if not isinstance(about, str) or not 0 < len(about) <= longest:
        raise Foreign("a name is text")
    return about
