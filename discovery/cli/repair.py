"""``repair``: what a person must decide about a campaign."""

from __future__ import annotations

from typing import Annotated

import typer

from discovery.cli.dft import person
from discovery.cli.options import CampaignName, Database, Json
from discovery.cli.output import console_for_tables, print_json, print_progress


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(repair)


def repair(
    campaign: CampaignName,
    apply: Annotated[
        list[str] | None,
        typer.Option(metavar="FINDING", help="Do the action of this finding; repeatable."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --apply: say what would be done.")
    ] = False,
    db: Database = None,
    json: Json = False,
) -> None:
    """List what no loop may mend by itself, with its evidence; do it only when told.

    Nothing is deleted, and every action is written into the event log.

    Example: `discovery repair quickstart --apply retry-candidate:quickstart-1f0c2a9b7d3e`
    """
    from agents.verify.queue.launchpad import launchpad
    from db.connection import connect
    from discovery.cli.bars import working
    from discovery.repair import NotFound, examine
    from discovery.repair import apply as act

    with working("opening the database"), connect(db, create=False) as session:
        pad = launchpad(session)
        findings = {one.id: one for one in examine(campaign, pad)}
        unknown = [one for one in apply or [] if one not in findings]
        if unknown:
            raise NotFound(
                f"{campaign} has no finding {unknown[0]!r} now: see `discovery repair {campaign}`"
            )
        done = {}
        for one in apply or []:
            if dry_run:
                done[one] = f"would: {findings[one].action}"
            else:
                done[one] = act(campaign, pad, one, by=f"repair by {person()}")
            print_progress(f"{one}: {done[one]}")
        left = list(findings.values()) if dry_run or not done else examine(campaign, pad)
    if json:
        print_json({"campaign": campaign, "done": done, "findings": [one.record() for one in left]})
        return
    if not left:
        print(f"{campaign}: nothing needs a person's decision")
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("finding", "evidence", "action"):
        table.add_column(column, overflow="fold")
    for finding in left:
        table.add_row(escape(finding.id), escape(finding.evidence), escape(finding.action))
    console_for_tables().print(table)
    if dry_run or not done:
        print("Nothing was changed.")
    print(f"To do one: discovery repair {campaign} --apply FINDING")
