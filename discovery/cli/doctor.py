"""``doctor``: what is here, what works, what to do about the rest."""

from __future__ import annotations

import typer

from discovery.cli.options import Json
from discovery.cli.output import console_for_tables, print_json


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(doctor)


def doctor(
    json: Json = False,
) -> None:
    """Check every part; exits with 1 only if the default campaign could not run.

    Example: `discovery doctor`
    """
    from rich.markup import escape
    from rich.table import Table

    from discovery.cli.bars import working
    from discovery.doctor.examination import can_run_quickstart, examine, record

    with working("examining") as work:
        work.part("examining", unit="checks")
        parts = examine(lambda done, total, name: work.at(done, total, what=f"examining: {name}"))
    if json:
        print_json(record(parts))
    else:
        table = Table(box=None, pad_edge=False)
        for column in ("part", "status", "version", "found", "what to do"):
            table.add_column(column, overflow="fold")
        for part in parts:
            need = (
                part.status if part.needed or part.status == "ok" else f"{part.status} (optional)"
            )
            cells = (part.name, need, part.version, part.detail, part.advice)
            table.add_row(*(escape(cell) for cell in cells))
        console_for_tables().print(table)
    raise typer.Exit(0 if can_run_quickstart(parts) else 1)
