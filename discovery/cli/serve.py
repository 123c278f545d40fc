"""``serve``: the dashboard, and candidates for other people's programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from discovery.cli.campaigns import Database
from discovery.cli.output import UsageError, print_progress

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(serve)


def serve(
    dashboard: Annotated[
        bool,
        typer.Option(
            "--dashboard", help="The pages for people beside the others (docs/dashboard.md)."
        ),
    ] = False,
    optimade: Annotated[
        bool, typer.Option("--optimade", help="By the OPTIMADE protocol (docs/optimade.md).")
    ] = False,
    metrics: Annotated[
        bool,
        typer.Option("--metrics", help="/health, and /metrics for Prometheus."),
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Every candidate with a crystal, not the verified alone.")
    ] = False,
    fireworks: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where FireWorks' own pages run, to be linked."),
    ] = None,
    optuna: Annotated[
        str | None, typer.Option(metavar="URL", help="Where Optuna's own pages run, to be linked.")
    ] = None,
    host: Annotated[str, typer.Option(help="A loopback address; others are refused.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 5000,
    db: Database = None,
) -> None:
    """Show campaigns and candidates in a browser, or let other programs read them; read-only.

    Without options the dashboard, with /health and /metrics beside it: `discovery serve`

    For programs alone: `discovery serve --optimade --metrics`
    """
    from db.connection import connect
    from discovery.serve.listening import listen, require_loopback, require_packages

    dashboard = dashboard or not (optimade or metrics)
    neighbours = {
        name: _address(name, url)
        for name, url in (("FireWorks", fireworks), ("Optuna", optuna))
        if url is not None
    }
    if everything and not optimade:
        raise UsageError("--all says what --optimade serves")
    if neighbours and not dashboard:
        raise UsageError("--fireworks and --optuna are links of the dashboard: add --dashboard")
    require_loopback(host)
    require_packages()
    what = "all candidates with a crystal" if everything else "verified candidates"

    def announce(address: str) -> None:
        if dashboard:
            print_progress(f"the dashboard is at {address}, until Ctrl-C")
        if optimade:
            print_progress(f"{what} at {address}/v1/structures, until Ctrl-C")
        if metrics:
            print_progress(f"figures at {address}/metrics and {address}/health, until Ctrl-C")

    with connect(db, create=False):
        candidates = _optimade(everything) if optimade else None
        if dashboard:
            from discovery.dashboard.serving import make_application

            listen(
                make_application(neighbours=neighbours, optimade=candidates), host, port, announce
            )
        else:
            listen(_for_programs(candidates, metrics, host), host, port, announce)


def _optimade(everything: bool) -> FastAPI:
    from discovery.serve.application import make_application

    return make_application(everything=everything)


def _for_programs(optimade: FastAPI | None, metrics: bool, host: str) -> ASGIApp:
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from discovery.dashboard.serving import HOSTS
    from discovery.metrics import routes as figures

    if optimade is not None and metrics:
        optimade.router.routes[:0] = figures.routes()
    app = figures.make_application() if optimade is None else optimade
    # A page of another site whose name was bound to this machine sends its own name.
    return TrustedHostMiddleware(app, allowed_hosts=[*HOSTS, host], www_redirect=False)


def _address(name: str, url: str) -> str:
    """Check the address of another dashboard.

    Raises:
        UsageError: It is none that a browser opens.
    """
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        raise UsageError(f"--{name.lower()} {url[:80]!a} is no address: http://127.0.0.1:8080")
    return url
