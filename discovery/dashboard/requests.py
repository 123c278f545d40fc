"""What a browser may ask of the dashboard: known questions of known size, and nothing else.

Dash finds the callback of a request by the name of an output that the browser gives, and hands it
whatever values come with it. Before that, `guard` compares the request with what the callback was
registered with. What the values are, each callback checks itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dash import Dash
    from flask import Response

#: Largest request; an address with a filter of 10,000 characters fits.
MOST_BYTES = 64 * 1024
QUESTION = "/_dash-update-component"


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
        return None

    @app.server.errorhandler(HTTPException)
    def refuse(error: HTTPException) -> Response:
        return _sentence(error.description or error.name, error.code or 500)


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
        expected = [(one["id"], one["property"]) for one in callback[part]]
        if not isinstance(given, list) or [_named(one) for one in given] != expected:
            raise BadRequest(f"this callback has other values in {part}")


def _named(given: Any) -> tuple[Any, Any]:
    return (given.get("id"), given.get("property")) if isinstance(given, dict) else (None, None)
