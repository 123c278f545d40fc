"""``data``: reference collections, fetched from their sources and imported into the database."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from discovery.cli import completion
from discovery.cli.options import Database, Json
from discovery.cli.output import UsageError, console_for_tables, print_json, print_progress

if TYPE_CHECKING:
    from discovery.references.fetch.source import FetchReport

app = typer.Typer(help="Reference collections of known crystals.", no_args_is_help=True)

#: Bad rows that are printed; --json gives more.
SHOWN = 5


@app.command("list")
def list_data(db: Database = None, json: Json = False) -> None:
    """List the collections: where their tables are, and what the database has of them.

    Example: `discovery data list`
    """
    from db import reference_collections
    from db.connection import DatabaseUnavailable, connect
    from discovery.references.sources import known_sources

    try:
        with connect(db, create=False):
            imported = reference_collections.collections()
    except DatabaseUnavailable:
        if db is not None:
            raise
        imported = []  # no database here yet, so nothing is in it
    sources = known_sources()
    if json:
        print_json({"sources": sources, "imported": imported})
        return
    _print_table(sources, imported)


def _print_table(sources: list[dict[str, Any]], imported: list[dict[str, Any]]) -> None:
    from rich.table import Table

    there = {one["name"]: one for one in imported}
    table = Table("Collection", "What", "Tables", "In the database", "Licence and citation")
    for source in sources:
        known = there.pop(source["name"], None)
        version = (known or source)["version"]
        where = source["folder"] or f"discovery data fetch {source['name']}"
        table.add_row(
            source["name"],
            f"{source['title']}, {version}",
            where,
            _state(source["name"], known),
            f"{source['licence']}; {source['citation']}",
        )
    for name, known in there.items():
        files = ", ".join(one["file"] for one in known["files"])
        table.add_row(name, f"{known['source']}, {known['version']}", files, _state(name, known))
    console_for_tables().print(table)


def _state(name: str, known: dict[str, Any] | None) -> str:
    from discovery.references.importing import is_current
    from discovery.references.sources import ROLES

    if known is None:
        return f"discovery data import {name}"
    if not known["complete"]:
        return f"{known['n']:,} crystals so far: import again to continue"
    roles: dict[str, int] = {}
    for one in known["files"]:
        role = one.get("role", "known")
        roles[role] = roles.get(role, 0) + one["read"] - one.get("n_bad", len(one["bad"]))
    split = " / ".join(f"{roles[role]:,} {role}" for role in ROLES if role in roles)
    bad = sum(one.get("n_bad", len(one["bad"])) for one in known["files"])
    lines = [f"{known['n']:,} crystals"]
    lines += [split] if len(roles) > 1 else []
    lines += [f"{bad:,} rows left out"] if bad else []
    if not is_current(known):
        lines.append("of an older version: import again to bring it up to date")
    return "\n".join(lines)


@app.command("import")
def import_data(
    name: Annotated[
        str,
        typer.Argument(
            help="mp, mp20, perov5, carbon24, c2db, what was fetched under another name, or the "
            "path of a csv, JSON, CIF, extended xyz, POSCAR or ase db file, or of a folder.",
            metavar="NAME|FILE",
            autocompletion=lambda incomplete: (
                completion.collections(incomplete)
                + completion.files(incomplete, ".csv", ".gz", ".json", ".cif", ".extxyz", ".db")
            ),
        ),
    ],
    as_name: Annotated[
        str | None, typer.Option("--name", help="Name of the collection in the database.")
    ] = None,
    role: Annotated[
        str, typer.Option(help="What a file's crystals are: train, val, test or known.")
    ] = "known",
    db: Database = None,
    json: Json = False,
) -> None:
    """Import a reference collection. May be interrupted and repeated: it continues.

    Example: `discovery data import mp`
    """
    from db.connection import connect
    from discovery.cli.bars import import_bar
    from discovery.references.importing import import_reference

    with import_bar() as tell, connect(db):
        report = import_reference(name, name=as_name, role=role, progress=tell)
    if json:
        print_json(asdict(report))
        return
    print(
        f"{report.name}: {report.n} crystals; {report.read} rows read, {report.skipped} read "
        f"before, {report.n_bad} left out"
    )
    for one in report.bad[:SHOWN]:
        print_progress(f"  row {one.row} ({one.id}): {one.reason}")
    if report.n_bad > SHOWN:
        print_progress(f"  and {report.n_bad - SHOWN} more (--json)")


@app.command("fetch")
def fetch_data(
    name: Annotated[
        str,
        typer.Argument(
            help="mp, mp20, perov5, carbon24, c2db, or optimade.",
            metavar="NAME",
            autocompletion=completion.collections,
        ),
    ],
    provider: Annotated[
        str | None, typer.Option(help="optimade: the provider's base URL.", metavar="URL")
    ] = None,
    filter: Annotated[
        str, typer.Option("--filter", help="optimade: which structures; default: all.")
    ] = "",
    as_name: Annotated[
        str | None, typer.Option("--name", help="optimade: what to call the collection.")
    ] = None,
    field: Annotated[
        list[str] | None, typer.Option(help="optimade: a property to keep; repeatable.")
    ] = None,
    most: Annotated[
        int, typer.Option("--max", min=0, help="optimade: stop after so many; 0: all.")
    ] = 0,
    address: Annotated[
        str | None, typer.Option(help="Another base address than the official one.", metavar="URL")
    ] = None,
    sha256: Annotated[
        list[str] | None,
        typer.Option(help="Expected checksum of a file; repeatable.", metavar="FILE=HEX"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Fetch again what is there.")] = False,
    json: Json = False,
) -> None:
    """Fetch a collection from its official address into the data folder; continues if interrupted.

    The Materials Project (mp) needs your own key in MP_API_KEY.

    Example: `discovery data fetch mp20`
    """
    from discovery.cli.bars import fetch_bar
    from discovery.references.fetch.collection import fetch, parse_pins

    options: dict[str, Any] = {"address": address}
    chosen = name
    if name == "optimade":
        if not provider or not as_name:
            raise UsageError("optimade needs --provider URL and --name, what to call its crystals")
        options = {"address": provider, "filter": filter, "fields": field or [], "most": most}
        chosen = as_name
    elif provider or filter or as_name or field or most:
        raise UsageError("--provider, --filter, --name, --field and --max are for optimade")
    with fetch_bar() as tell:
        report = fetch(chosen, pins=parse_pins(sha256 or []), force=force, progress=tell, **options)
    if json:
        print_json({**asdict(report), "tables": [str(path) for path in report.tables]})
        return
    _print_fetched(report)


def _print_fetched(report: FetchReport) -> None:
    if report.already:
        again = "; --force fetches it again" if report.cards else ""
        print(f"{report.name} is there: {', '.join(map(str, report.tables))}{again}")
        return
    for path, card in zip(report.tables, report.cards, strict=True):
        print(f"{path}: {card.rows} crystals, {card.n_left_out} left out")
        print_progress(f"  from {card.address}, sha256 {card.sha256} ({card.trusted})")
        for name, reason in list(card.left_out)[:SHOWN]:
            print_progress(f"  {name}: {reason}")
    print_progress(f"now: discovery data import {report.name}")
