"""``/health`` and ``/metrics`` as routes that any ASGI application can mount.

app = Starlette(routes=[*routes(), ...])      # or, with FastAPI: app.router.routes += routes()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymongo.errors import PyMongoError

from db.connection import current_database
from db.documents import Campaign
from db.events import server_time
from db.states import CampaignState
from db.uri import DatabaseUnavailable

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route


def health() -> tuple[bool, dict[str, Any]]:
    """Look whether the database answers and every running campaign has its loop.

    Returns:
        Whether the database answers; and plain JSON: ``status`` (``ok``, ``degraded`` where a
        campaign that runs has no loop, ``down``) and ``problems`` in words.
    """
    try:
        current_database().command("ping")
        now = server_time()
        running = list(Campaign.objects(state=str(CampaignState.RUNNING)).only("name", "leader"))
    except (PyMongoError, DatabaseUnavailable) as error:
        problem = f"the database does not answer ({type(error).__name__})"
        return False, {"status": "down", "problems": [problem]}
    problems = [
        f"campaign {one.name} is running, but no loop leads it: discovery repair {one.name}"
        for one in running
        if not one.leader or one.leader["expires_at"] < now
    ]
    status = "degraded" if problems else "ok"
    return True, {"status": status, "running": len(running), "problems": problems}


def routes() -> list[Route]:
    """Return the routes; the process must be connected to the database."""
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    def answer_health(request: Request) -> Response:
        answers, found = health()
        return JSONResponse(found, status_code=200 if answers else 503)

    def answer_metrics(request: Request) -> Response:
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.exposition import CONTENT_TYPE_LATEST

        from discovery.metrics.collector import CampaignCollector

        registry = CollectorRegistry(auto_describe=False)
        registry.register(CampaignCollector())
        try:
            content = generate_latest(registry)
        except (PyMongoError, DatabaseUnavailable) as error:
            text = f"the database does not answer ({type(error).__name__})\n"
            return Response(text, status_code=503, media_type="text/plain")
        return Response(content, media_type=CONTENT_TYPE_LATEST)

    # Functions, no coroutines: Starlette runs them in threads, as the driver blocks.
    return [
        Route("/health", answer_health, methods=["GET"]),
        Route("/metrics", answer_metrics, methods=["GET"]),
    ]


def make_application() -> Starlette:
    """Make an application of these routes alone."""
    from starlette.applications import Starlette

    return Starlette(routes=routes())
