"""``run``, ``campaigns``, ``status`` and ``show``: the everyday commands."""

from __future__ import annotations

from typing import Annotated

import typer

from discovery.cli import completion
from discovery.cli.options import Campaign, Database, Json
from discovery.cli.output import console_for_tables, print_json


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(run)
    app.command()(campaigns)
    app.command()(status)
    app.command()(show)


def run(
    campaign: Annotated[
        str,
        typer.Option(
            help="Name of a shipped campaign, or the path of a YAML file.",
            autocompletion=completion.campaigns_to_run,
        ),
    ],
    db: Database = None,
    max_candidates: Annotated[
        int | None, typer.Option(min=1, help="Propose at most so many.")
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Stop after so long; the next run continues.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Worker processes to start here; default: one a core.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any key of the campaign, for instance verify.preset=fast; repeatable.",
            autocompletion=completion.settings,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Start a campaign, or continue it.

    Example: `discovery run --campaign quickstart`

    What `--set` changes is checked like a file, recorded, and has to be repeated to continue:
    `discovery run --campaign photovoltaic-3d --max-minutes 30 --set verify.preset=fast`
    """
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    from agents.log_context import log_context
    from db.campaigns import names
    from discovery.campaign.config import load_campaign
    from discovery.campaign.launch import RunOptions, log_folder, run_campaign
    from discovery.campaign.overrides import apply_overrides, parse_overrides
    from discovery.cli.completion import remember
    from discovery.logs import configure_logs, log_format
    from discovery.reports.live_view import LiveView
    from discovery.reports.summary import print_summary

    log_format()  # a wrong one is told before anything is started
    overrides = parse_overrides(set_ or [])
    config = apply_overrides(load_campaign(campaign), overrides)
    console = Console(stderr=True)
    options = RunOptions(db, workers, max_candidates, max_minutes, overrides)
    title = f"campaign [bold]{config.name}[/bold]"
    title += f": {config.description}" if config.description else ""
    console.print(title, soft_wrap=not console.is_terminal)

    view = LiveView(config, console, max_candidates=max_candidates, max_minutes=max_minutes)

    def announce(line: str) -> None:
        if console.is_terminal:
            console.print(Padding(Text(line), (0, 0, 0, 2)))
        else:
            console.print(f"  {line}", highlight=False, soft_wrap=True, markup=False)

    def start() -> None:
        configure_logs(log_folder() / "loop.log")
        remember([config.name, *names()], db)

    try:
        with view.shown(), log_context(campaign=config.name):
            outcome = run_campaign(
                config,
                options,
                announce=announce,
                on_start=start,
                on_tick=view,
            )
    except KeyboardInterrupt:
        console.print("interrupted: the same command continues the campaign")
        raise typer.Exit(130) from None
    if json:
        print_json(outcome)
        return
    print_summary(outcome, console_for_tables())
    console.print(f"Logs of the workers: {log_folder()}", style="dim", soft_wrap=True)


def campaigns(json: Json = False) -> None:
    """List the campaigns that come with the package.

    Example: `discovery campaigns`
    """
    from discovery.campaign.config import load_campaign, shipped_campaigns

    shipped = [load_campaign(name) for name in shipped_campaigns()]
    if json:
        shown = ("description", "expected", "generator", "targets", "paper_funnel")
        print_json(
            [{"campaign": one.name, **{k: one.record()[k] for k in shown}} for one in shipped]
        )
        return
    for one in shipped:
        print(f"{one.name}: {one.description}")
        print(f"    {', '.join(map(str, one.targets))}; generator {one.generator}")
        print(f"    {one.expected}")
    print("\nStart one: discovery run --campaign NAME. Yours: discovery run --campaign FILE.yaml")


def status(campaign: Campaign = None, db: Database = None, json: Json = False) -> None:
    """Show the funnel of a campaign, or list the campaigns.

    Example: `discovery status quickstart --json`
    """
    from db.campaigns import listed as list_campaigns
    from db.connection import connect
    from discovery.cli.bars import working
    from discovery.cli.completion import remember
    from discovery.reports.status import status as summarise
    from discovery.reports.summary import print_summary

    with working("opening the database") as work, connect(db, create=False):
        if campaign is None:
            listed = list_campaigns()
            remember([one["campaign"] for one in listed], db)
            if json:
                print_json(listed)
            else:
                for one in listed:
                    print(f"{one['campaign']}  {one['state']}  {one['candidates']} candidates")
                if not listed:
                    print("no campaigns yet: start one with `discovery run --campaign quickstart`")
            return
        work.part(f"counting the candidates of {campaign}")
        summary = summarise(campaign)
    if json:
        print_json(summary)
    else:
        print_summary(summary, console_for_tables())


def show(
    candidate: Annotated[
        str,
        typer.Argument(
            help="Id of a candidate.", metavar="ID", autocompletion=completion.candidates
        ),
    ],
    db: Database = None,
    json: Json = False,
) -> None:
    """Show one candidate: lineage, structure, every number with the model that gave it.

    Example: `discovery show quickstart-1f0c2a9b7d3e`
    """
    from db.connection import connect
    from discovery.cli.bars import working
    from discovery.lineage.tracing import trace
    from discovery.lineage.view import describe

    with working("opening the database"), connect(db, create=False):
        record = trace(candidate)
    if json:
        print_json(record)
    else:
        describe(record, console_for_tables())
