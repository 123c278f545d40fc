"""``data``: reference collections, imported into the database."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from discovery.cli.output import print_json, print_progress

app = typer.Typer(help="Reference collections of known crystals.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Database = Annotated[
    str | None,
    typer.Option("--db", help="MongoDB URI; else $MONGODB_URI; else the embedded server."),
]
#: Bad rows that are printed; --json gives more.
SHOWN = 5


@app.command("list")
def list_data(db: Database = None, json: Json = False) -> None:
    """List what can be imported and what has been.

    Example: `discovery data list`
    """
    from db import reference_structures
    from db.connection import DatabaseUnavailable, connect
    from discovery.reference_sources import known_sources

    try:
        with connect(db, create=False):
            imported = reference_structures.collections()
    except DatabaseUnavailable:
        if db is not None:
            raise
        imported = []  # no database here yet, so nothing is in it
    sources = known_sources()
    if json:
        print_json({"sources": sources, "imported": imported})
        return
    for source in sources:
        print(f"{source['name']:12} {source['version']:28} {source['note']}")
    for one in imported:
        state = "imported" if one["complete"] else "import not finished"
        print(f"{one['name']:12} {one['version'] or '':28} {state}: {one['n']} crystals")


@app.command("import")
def import_data(
    name: Annotated[str, typer.Argument(help="mp, or the path of a csv.gz.", metavar="NAME|FILE")],
    as_name: Annotated[
        str | None, typer.Option("--name", help="Name of the collection in the database.")
    ] = None,
    db: Database = None,
    json: Json = False,
) -> None:
    """Import a reference collection. May be interrupted and repeated: it continues.

    Example: `discovery data import mp`
    """
    from db.connection import connect
    from discovery.reference_import import ImportProgress, import_reference

    def tell(progress: ImportProgress) -> None:
        if progress.rows % 5000 < 500:
            print_progress(f"{progress.file}: {progress.rows} rows")

    with connect(db):
        report = import_reference(name, name=as_name, progress=tell)
    if json:
        print_json(asdict(report))
        return
    print(
        f"{report.name}: {report.n} crystals; {report.read} rows read, {report.skipped} read "
        f"before, {report.n_bad} left out"
    )
    for one in report.bad[:SHOWN]:
        print_progress(f"  row {one.row} ({one.id}): {one.reason}")
