"""``query``: candidates by a filter, as a table, JSON, CSV or crystals."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from discovery.cli import completion
from discovery.cli.options import Campaign, Database
from discovery.cli.output import UsageError
from discovery.export.formats import Format

#: Forms that are a file or folder and nothing to print.
ONLY_AS_FILES = {
    Format.CIF: "a folder of files: name it with --out DIR",
    Format.ASE_DB: "a file of SQLite: name it with --out FILE.db",
}


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(query)


def query(
    campaign: Campaign = None,
    where: Annotated[
        str | None,
        typer.Option(
            help="A filter in the language of OPTIMADE, for instance "
            "'band_gap >= 0.5 AND elements HAS \"Ga\"'; docs/query.md.",
            metavar="FILTER",
        ),
    ] = None,
    status: Annotated[
        str | None,
        typer.Option(
            help="Only candidates in this state, for instance verified.",
            autocompletion=completion.states,
        ),
    ] = None,
    hits: Annotated[bool, typer.Option("--hits", help="Only verified hits.")] = False,
    elements: Annotated[
        str | None, typer.Option(help="Only crystals with all of these, for instance In,Ga.")
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            help="Field to sort by, for instance band_gap; a leading - reverses.",
            autocompletion=completion.fields,
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    fields: Annotated[
        str | None,
        typer.Option(
            help="Only these values, for instance formula,band_gap,band_gap_megnet.",
            autocompletion=completion.fields,
        ),
    ] = None,
    format: Annotated[Format, typer.Option(help="Form of the output.")] = Format.TABLE,
    out: Annotated[
        Path | None, typer.Option(help="File (for cif: folder) to write; else stdout.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what --out names.")
    ] = False,
    db: Database = None,
) -> None:
    """List candidates with every number and where it comes from.

    Example: `discovery query quickstart --where 'band_gap >= 0.5' --sort=-band_gap --format csv`
    """
    from db.connection import connect
    from discovery.cli.bars import working
    from discovery.export.candidates import choose, records
    from discovery.export.writing import require_output, write

    if format in ONLY_AS_FILES and out is None:
        raise UsageError(f"--format {format} writes {ONLY_AS_FILES[format]}")
    selection = choose(
        campaign,
        format,
        fields=_listed(fields),
        where=where,
        status=status,
        hits=True if hits else None,
        elements=_listed(elements),
        sort=sort,
        limit=limit,
    )
    require_output(format, out, overwrite=overwrite)
    with working("opening the database"):
        session = connect(db, create=False)
    with session:
        try:
            written, left_out = write(records(selection), format, out, overwrite=overwrite)
        except BrokenPipeError:  # whoever read our output has enough, for instance `head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
    if out is not None:
        print(f"{written} candidates written to {out}", file=sys.stderr)
    if left_out:
        print(f"{left_out} candidates without a crystal are left out", file=sys.stderr)


def _listed(text: str | None) -> list[str] | None:
    """Split a list at its commas."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]
