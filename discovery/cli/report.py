"""``report``: a campaign's figures and one document to read, print and mail."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from discovery.cli.options import CampaignName, Database, Json
from discovery.cli.output import print_json, print_progress


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(report)


def report(
    campaign: CampaignName,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; default: CAMPAIGN-report.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the report in that folder.")
    ] = False,
    db: Database = None,
    json: Json = False,
) -> None:
    """Draw a campaign's figures, and write them into one document that can be mailed.

    Example: `discovery report quickstart --out quickstart-report`

    The folder holds `report.html`, which needs no other file, and every figure as SVG, PNG and CSV.
    What a campaign has not got yet is said in a sentence. It may be running meanwhile.

    Exit status 1: an error of the program kept figures from being drawn; the report names them.
    """
    from db.connection import connect
    from discovery.cli.bars import working
    from discovery.figures.document import FILE, write_report

    folder = out or Path(f"{campaign}-report")
    with working("opening the database") as work, connect(db, create=False):
        work.part(f"reading {campaign}")
        drawn = write_report(campaign, folder, overwrite=overwrite, progress=work.at)
    document = folder / FILE
    if json:
        print_json(
            {
                "report": str(document),
                "bytes": document.stat().st_size,
                "figures": {
                    one.figure.name: [str(path) for path in one.files.values()]
                    for one in drawn
                    if one.content is not None
                },
                "not_shown": {
                    one.figure.name: one.reason for one in drawn if one.reason is not None
                },
                "faults": {one.figure.name: one.fault for one in drawn if one.fault is not None},
            }
        )
    else:
        shown = sum(one.content is not None for one in drawn)
        size = document.stat().st_size / 1e6
        print(f"{document} ({size:.1f} MB, {shown} figures); the same as files in {folder}")
        for one in drawn:
            if one.reason is not None:
                print_progress(f"not shown: {one.figure.title}: {one.reason}")
    failed = [one for one in drawn if one.fault is not None]
    for one in failed:
        print_progress(
            f"could not be drawn (a fault of the program): {one.figure.title}: {one.fault}"
        )
    if failed:
        raise typer.Exit(1)
