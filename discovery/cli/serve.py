"""``serve``: candidates for other people's programs."""

from __future__ import annotations

from typing import Annotated

import typer

from discovery.cli.campaigns import Database
from discovery.cli.output import UsageError, print_progress


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(serve)


def serve(
    optimade: Annotated[
        bool, typer.Option("--optimade", help="By the OPTIMADE protocol (docs/optimade.md).")
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
    """Let other programs read verified candidates; nothing can be written.

    Example: `discovery serve --optimade`
    """
    from db.connection import connect
    from discovery.serve.application import require_loopback
    from discovery.serve.application import serve as serve_until_interrupted

    if not optimade:
        raise UsageError("say by which protocol: discovery serve --optimade")
    require_loopback(host)
    what = "all candidates with a crystal" if everything else "verified candidates"

    def announce(address: str) -> None:
        print_progress(f"{what} at {address}/v1/structures, until Ctrl-C")

    with connect(db, create=False):
        serve_until_interrupted(host, port, everything=everything, announce=announce)
