"""``events``: what happened in a campaign, and what happens now."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Annotated, Any

import typer

from discovery.cli.options import CampaignName, Database
from discovery.cli.output import UsageError, print_json


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(events)


def events(
    campaign: CampaignName,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="Only this kind, for instance transition or learning; repeatable."),
    ] = None,
    candidate: Annotated[str | None, typer.Option(help="Only of this candidate.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only from this time on, ISO 8601 (UTC).")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the newest so many.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what happens, until Ctrl-C.")
    ] = False,
    db: Database = None,
    json: Annotated[
        bool,
        typer.Option("--json", help="One JSON document; with --follow one on each line."),
    ] = False,
) -> None:
    """List what happened in a campaign: its own events and every step of its candidates.

    Example: `discovery events quickstart --kind learning --json`
    """
    from db import campaigns
    from db import events as records
    from db.connection import connect
    from discovery.cli.bars import working

    start = _time(since)
    with working("opening the database"):
        session = connect(db, create=False)
    with session:
        campaigns.load(campaign)
        here = records.position()
        found = records.events(
            campaign, since=start, limit=limit, kinds=kind or None, candidate=candidate
        )
        if json and not follow:
            print_json(found)
            return
        for one in found:
            _print(one, json)
        if not follow:
            return
        known = {_key(one) for one in found}  # happened since `here`, and listed already
        try:
            for one in records.follow(campaign, here):
                wanted = not kind or one["kind"] in kind
                if wanted and candidate in (None, _key(one)[1]) and _key(one) not in known:
                    _print(one, json)
        except KeyboardInterrupt:
            raise typer.Exit(0) from None


def _key(event: dict[str, Any]) -> tuple[datetime, str | None, str, str | None]:
    """Tell an event from all others: its time, candidate, kind and new state."""
    candidate = event.get("candidate") or (event.get("data") or {}).get("candidate")
    return event["at"], candidate, event["kind"], event.get("to")


def _time(text: str | None) -> datetime | None:
    from datetime import UTC

    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--since {text!r} is no time: write for instance 2026-11-21T20:00"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _print(event: dict[str, Any], json: bool) -> None:
    from json import dumps

    line = dumps(event, default=lambda value: value.isoformat()) if json else describe(event)
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def describe(event: dict[str, Any]) -> str:
    """Write an event as one line for people."""
    from json import dumps

    at = event["at"].strftime("%Y-%m-%d %H:%M:%S")
    if event["kind"] == "transition":
        reason = f" ({event['reason']})" if event.get("reason") else ""
        start = event["from"] or "new"
        return f"{at}  {event['candidate']}  {start} to {event['to']}{reason}  {event['agent']}"
    data = dumps(event.get("data") or {}, default=str)
    return f"{at}  {event['kind']}  {data:.300}  {event['agent']}"
