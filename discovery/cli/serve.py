"""``serve``: the dashboard, and candidates for other people's programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from discovery.cli.campaigns import Database
from discovery.cli.output import UsageError, print_progress

if TYPE_CHECKING:
    from starlette.applications import Starlette


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(serve)


def serve(
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

    if everything and not optimade:
        raise UsageError("--all says what --optimade serves")
    require_loopback(host)
    require_packages()
    what = "all candidates with a crystal" if everything else "verified candidates"

    def announce(address: str) -> None:
        if not optimade and not metrics:
            print_progress(f"the dashboard is at {address}, until Ctrl-C")
        if optimade:
            print_progress(f"{what} at {address}/v1/structures, until Ctrl-C")
        if metrics:
            print_progress(f"figures at {address}/metrics and {address}/health, until Ctrl-C")

    with connect(db, create=False):
        listen(_application(optimade, metrics, everything), host, port, announce)


def _application(optimade: bool, metrics: bool, everything: bool) -> Starlette:
    if not optimade and not metrics:
        from discovery.dashboard import serving

        return serving.make_application()
    from discovery.metrics import routes as figures

    if not optimade:
        return figures.make_application()
    from discovery.serve.application import make_application

    app = make_application(everything=everything)
    if metrics:
        app.router.routes[:0] = figures.routes()
    return app
