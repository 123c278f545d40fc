"""What a browser may ask of the dashboard: known questions of known size, and nothing else.

Dash finds the callback of a request by the name of an output that the browser gives, and hands it
whatever values come with it. Before that, `guard` compares the request with what the callback was
registered with. What the values are, each callback checks itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymongo.errors import PyMongoError

from discovery.dashboard.markup import MOST_SAID

if TYPE_CHECKING:
    from dash import Dash
    from flask import Response

#: Largest request; an address with a filter of 10,000 characters fits.
MOST_BYTES = 64 * 1024
QUESTION = "/_dash-update-component"
#: Errors of these packages are sentences for people.
OWN_PACKAGES = ("db", "agents", "model", "discovery")


class BadRequest(ValueError):
    """A request that no page of the dashboard makes."""


def guard(app: Dash) -> None:
    """Refuse requests that no page makes; to be called when all callbacks are registered."""
    from flask import request
    from werkzeug.exceptions import HTTPException

    app.server.config["MAX_CONTENT_LENGTH"] = MOST_BYTES
    app.server.config["PROPAGATE_EXCEPTIONS"] = False

    @app.server.before_request
    def look() -> Response | None:
        if request.path != QUESTION:
            return None
        try:
            require_known(app, request.get_json())
        except BadRequest as error:
            return _sentence(str(error), 400)
        except RecursionError:
            return _sentence("a question is not nested so deeply", 400)
        return None

    @app.server.errorhandler(HTTPException)
    def refuse(error: HTTPException) -> Response:
        return _sentence(error.description or error.name, error.code or 500)

    @app.server.errorhandler(ValueError)
    def refuse_value(error: ValueError) -> Response:
        if not is_own(error):
            raise error
        return _sentence(" ".join(str(error).split())[:MOST_SAID], 400)

    @app.server.errorhandler(PyMongoError)
    def no_database(error: PyMongoError) -> Response:
        return _sentence(f"the database does not answer ({type(error).__name__})", 503)


def is_own(error: Exception) -> bool:
    """Say whether an error is one of this product's, a sentence for people."""
    return type(error).__module__.partition(".")[0] in OWN_PACKAGES


def _sentence(text: str, status: int) -> Response:
    from flask import Response

    return Response(f"{text}\n", status=status, mimetype="text/plain")


def require_known(app: Dash, body: object) -> None:
    """Compare a question with the callback that it names.

    Raises:
        BadRequest: There is no such callback, or it was registered with other inputs.
    """
    if not isinstance(body, dict) or not isinstance(output := body.get("output"), str):
        raise BadRequest("a question is an object that names its output")
    callback = app.callback_map.get(output)
    if callback is None:
        raise BadRequest("no callback has this output")
    for part in ("inputs", "state"):
        given = body.get(part) or []
        if not isinstance(given, list) or _named(given) != _named(callback[part]):
            raise BadRequest(f"this callback has other values in {part}")
    asked, several = body.get("outputs"), output.startswith("..")
    named = _named(asked if several and isinstance(asked, list) else [asked])
    if [f"{one}.{name}" for one, name in named] != output.strip(".").split("..."):
        raise BadRequest("the names of the outputs are not those of the output")
    changed = body.get("changedPropIds") or []
    known = {f"{one}.{name}" for one, name in _named(callback["inputs"])}
    if not isinstance(changed, list) or not all(
        isinstance(one, str) and one in known for one in changed
    ):
        raise BadRequest("what changed is none of the inputs")


def _named(given: list[Any]) -> list[tuple[Any, Any]]:
    """Return id and property of each; (None, None) for what is no object."""
    return [
        (one.get("id"), one.get("property")) if isinstance(one, dict) else (None, None)
        for one in given
    ]
