"""``dedup``: which crystals are known already."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from discovery.cli import completion
from discovery.cli.options import Database, Json
from discovery.cli.output import UsageError, console_for_tables, print_json, print_progress

if TYPE_CHECKING:
    from discovery.cli.bars import Working
    from discovery.references.importing import ImportProgress
    from discovery.structures.duplicates import Queries


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(dedup)


def dedup(
    crystals: Annotated[
        list[str],
        typer.Argument(
            help="CIF, POSCAR, extended XYZ or csv.gz files, or the name of one campaign.",
            metavar="CAMPAIGN|FILE...",
            autocompletion=lambda incomplete: (
                completion.campaigns_here(incomplete) + completion.crystal_files(incomplete)
            ),
        ),
    ],
    reference: Annotated[
        str,
        typer.Option(
            help="mp, mp20, perov5, carbon24, c2db (imported on first use), one of the last four "
            "with -train, train (the training set), self (the crystals before it), a collection of "
            "your own, or the path of a csv.gz.",
            autocompletion=completion.references,
        ),
    ] = "mp",
    training: Annotated[
        str | None,
        typer.Option(
            help="Training set, to tell rediscoveries: mp20-train, ..., a csv.gz, or none. "
            "Default: that of the campaign's generator, else the one that belongs to the reference."
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All relaxed candidates, not only those that passed.")
    ] = False,
    exhaustive: Annotated[
        bool,
        typer.Option(
            "--exhaustive", help="Find every match, and the closest; default: the first that is."
        ),
    ] = False,
    slabs: Annotated[
        bool,
        typer.Option(
            "--slabs",
            help="Give slabs (vacuum along c) one vacuum first; always so against c2db and for a "
            "campaign in two dimensions.",
        ),
    ] = False,
    ltol: Annotated[float, typer.Option(help="Relative tolerance of cell lengths.")] = 0.3,
    stol: Annotated[float, typer.Option(help="Tolerance of sites, in (V/N)^(1/3).")] = 0.5,
    angle_tol: Annotated[float, typer.Option(help="Tolerance of cell angles, degrees.")] = 10.0,
    processes: Annotated[int, typer.Option(min=1, help="Processes to use.")] = 1,
    db: Database = None,
    json: Json = False,
) -> None:
    """Compare crystals with known ones: duplicates, rediscoveries, and what is new.

    Example: `discovery dedup crystals.extxyz --reference mp --json`
    """
    from contextlib import ExitStack

    from pydantic import ValidationError

    from agents.screen.settings import MatcherSettings
    from db.connection import connect
    from discovery.cli.bars import working
    from discovery.structures.duplicates import find_known

    try:
        tolerances = MatcherSettings(ltol=ltol, stol=stol, angle_tol=angle_tol)
    except ValidationError as error:
        fault = error.errors()[0]
        raise UsageError(f"--{fault['loc'][0]}: {fault['msg']}".replace("_", "-")) from error
    of_campaign = _is_campaign(crystals)
    with ExitStack() as stack:
        work = stack.enter_context(working("opening the database"))
        if of_campaign or _needs_database(reference, training):
            stack.enter_context(connect(db, create=not of_campaign))
        work.part("reading the crystals")
        found = find_known(
            _queries(crystals, everything=everything),
            reference,
            training=training,
            tolerances=tolerances,
            slabs=slabs,
            exhaustive=exhaustive,
            processes=processes,
            progress=_teller(work),
            importing=_import_teller(work),
        )
    for one in found["errors"]:
        print_progress(f"{one['id']}: {one['error']}")
    if json:
        print_json(found)
    else:
        _print(found)
    if found["n"] and found["failed"] == found["n"]:
        raise typer.Exit(1)


def _needs_database(reference: str, training: str | None) -> bool:
    """A table, and crystals among themselves, are compared without a database."""
    from discovery.structures.duplicate_references import SELF, is_table
    from discovery.structures.duplicates import chosen_references

    names = [name for name in chosen_references(reference, training, None) if name is not None]
    return any(name != SELF and not is_table(name) for name in names)


def _teller(work: Working) -> Callable[[str, int, int], None]:
    """Show how many crystals were compared with each reference."""
    begun: set[str] = set()

    def tell(name: str, done: int, total: int) -> None:
        if name not in begun:
            begun.add(name)
            work.part(f"comparing with {name}", total, "crystals")
        work.at(done, total)

    return tell


def _import_teller(work: Working) -> Callable[[ImportProgress], None]:
    """Show the import of a reference that the database has not yet."""
    begun: set[str] = set()

    def tell(state: ImportProgress) -> None:
        if state.collection not in begun:
            begun.add(state.collection)
            work.part(f"importing {state.collection}", 1.0, "%")
        work.at(state.fraction)

    return tell


def _queries(crystals: list[str], *, everything: bool) -> Queries:
    from discovery.structures.duplicates import candidate_queries, read_queries

    if _is_campaign(crystals):
        return candidate_queries(crystals[0], everything=everything)
    if everything:
        raise UsageError("--all is about the candidates of a campaign, and files were given")
    return read_queries([Path(one) for one in crystals])


def _is_campaign(crystals: list[str]) -> bool:
    """One plain word that is no file here is the name of a campaign."""
    only = Path(crystals[0])
    return (
        len(crystals) == 1 and not only.is_file() and only.name == crystals[0] and not only.suffix
    )


def _print(found: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    if found["matches"]:
        table = Table(box=None, pad_edge=False)
        for title in ("crystal", "formula", "known as", "RMS", "RMS (Å)", "in training"):
            table.add_column(title, overflow="fold")
        for match in found["matches"]:
            trained = {None: "?", True: "no", False: match["training_id"]}[match["rediscovered"]]
            cells = (match["id"], match["formula"], match["reference_id"])
            numbers = (f"{match['rms']:.4f}", f"{match['rms_angstrom']:.4f}")
            table.add_row(*(escape(str(cell)) for cell in (*cells, *numbers, trained)))
        console_for_tables().print(table)
    reference, training = found["reference"], found["training"]
    print(
        f"{found['matched']} of {found['n']} crystals are among the {reference['crystals']} of "
        f"{reference['name']}; {found['failed']} could not be compared; {found['novel']} are new"
    )
    if training is not None:
        mean = found["rediscovered_rms_mean"]
        close = "" if mean is None else f" (mean RMS {mean:.4f})"
        print(
            f"{found['in_training']} are in the training set {training['name']}; "
            f"{found['rediscovered']} are known, but not from it: rediscovered{close}"
        )
    if reference["not_comparable"]:
        count = len(reference["not_comparable"])
        print_progress(f"{count} crystals of {reference['name']} could not be compared; see --json")
