"""The dashboard on a port, beside health and figures and, where asked for, OPTIMADE.

Dash runs on Flask here, in threads behind `a2wsgi`, and not on its own FastAPI backend: that one
calls a page's function on the event loop itself, so that one slow answer of the database would stop
every other request of the port, `/health` among them. The driver of the database blocks, so threads
are its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dash import Dash
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Names by which a browser of this machine calls it.
HOSTS = ("127.0.0.1", "localhost", "[::1]", "::1")
THREADS = 8
#: The OPTIMADE server's addresses that it is asked at; those without a version are the dashboard's.
OPTIMADE = ("/versions", "/v1", "/v1.2", "/v1.2.0")

#: Dash, the table and the pictures set styles in the document; scripts are files of this server.
POLICY = (
    "default-src 'none'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


def make_application(
    *, neighbours: Mapping[str, str] | None = None, optimade: ASGIApp | None = None
) -> ASGIApp:
    """Make the dashboard with `/health` and `/metrics`; the process must be connected.

    Args:
        neighbours: Name and address of other dashboards, which are linked.
        optimade: The OPTIMADE server, to be reached on the same port by its versioned addresses.
    """
    from a2wsgi import WSGIMiddleware
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.routing import Mount

    from discovery.dashboard.application import make_dashboard
    from discovery.metrics.routes import routes

    dashboard = make_dashboard(neighbours=neighbours or {})
    pages: Any = WSGIMiddleware(dashboard.server, workers=THREADS)
    protection = [
        Middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS), www_redirect=False),
        Middleware(SecurityHeaders, headers=headers(dashboard)),
    ]
    if optimade is None:
        return Starlette(routes=[*routes(), Mount("/", pages)], middleware=protection)
    both = Beside(optimade, OPTIMADE, Starlette(routes=[*routes(), Mount("/", pages)]))
    return Starlette(routes=[Mount("/", both)], middleware=protection)


class Beside:
    """Gives some addresses to one application and all others to another, both unchanged.

    OPTIMADE writes links to its next pages from the address of a request, so it is not mounted
    under a path of its own.

    Args:
        first: Answers the paths that begin with one of ``paths``.
        paths: Beginnings, whole parts of a path.
        second: Answers the others.
    """

    def __init__(self, first: ASGIApp, paths: Sequence[str], second: ASGIApp) -> None:
        self._first, self._paths, self._second = first, tuple(paths), second

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        part = "/" + scope.get("path", "").removeprefix("/").partition("/")[0]
        app = self._first if part in self._paths else self._second
        await app(scope, receive, send)


def headers(dashboard: Dash) -> dict[str, str]:
    """Return the headers of every answer; scripts in the page itself are named by their hashes."""
    policy = POLICY.format(hashes=" ".join(dashboard.csp_hashes()))
    return {**HEADERS, "content-security-policy": policy}


class SecurityHeaders:
    """Adds headers to every answer.

    Args:
        app: What answers.
        headers: Names and values.
    """

    def __init__(self, app: ASGIApp, headers: dict[str, str]) -> None:
        self._app = app
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *self._headers]}
            await send(message)

        await self._app(scope, receive, send_with_headers)
