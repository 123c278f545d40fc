"""``export`` and ``redo``: candidates in archives from which their numbers can be redone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from discovery.cli import completion
from discovery.cli.options import Database, Json
from discovery.cli.output import UsageError, print_json, print_progress

if TYPE_CHECKING:
    from discovery.archive.redo import Redone


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(export)
    app.command()(redo)


def export(
    candidates: Annotated[
        list[str] | None,
        typer.Argument(
            help="Ids of candidates.", metavar="[ID]...", autocompletion=completion.candidates
        ),
    ] = None,
    hits: Annotated[
        str | None,
        typer.Option(
            "--hits",
            help="All hits of this campaign.",
            metavar="CAMPAIGN",
            autocompletion=completion.campaigns_here,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="The archive to write, for instance hit.zip.")] = Path(
        "candidates.zip"
    ),
    without_weights: Annotated[
        bool,
        typer.Option(
            "--without-weights",
            help="Leave out weights of other people (MEGNet); names and sha256 stay.",
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the archive.")] = False,
    db: Database = None,
    json: Json = False,
) -> None:
    """Write candidates with everything that is needed to defend and to redo them into one archive.

    Example: `discovery export quickstart-1f0c2a9b7d3e --out hit.zip`
    """
    from db.connection import connect
    from discovery.archive.export import export as write
    from discovery.cli.bars import working
    from discovery.export.candidates import choose, records
    from discovery.export.formats import Format

    ids = list(candidates or [])
    if not ids and hits is None:
        raise UsageError("name candidates by their ids, or all hits of a campaign by --hits NAME")
    with working("opening the database") as work, connect(db, create=False):
        if hits is not None:
            chosen = choose(hits, Format.TABLE, fields=["id"], hits=True)
            ids += [record["id"] for record in records(chosen)]
        work.part(f"writing {out}", len(dict.fromkeys(ids)), "candidates")
        begun = 0

        def tell(name: str) -> None:
            nonlocal begun
            work.say(name)
            work.at(begun)
            begun += 1

        left_out = write(ids, out, weights=not without_weights, overwrite=overwrite, progress=tell)
    names = list(dict.fromkeys(ids))
    if json:
        print_json({"archive": str(out), "candidates": names, "left_out": left_out})
        return
    for sentence in left_out:
        print_progress(sentence)
    size = out.stat().st_size / 2**20
    print(f"{len(names)} candidates in {out} ({size:.1f} MiB); `discovery redo {out}` checks it")


def redo(
    archive: Annotated[
        Path, typer.Argument(help="Archive of `export`, or the folder it was unpacked into.")
    ],
    relax: Annotated[
        bool, typer.Option("--relax", help="Relax the decoded crystals again, too.")
    ] = False,
    json: Json = False,
) -> None:
    """Compute the numbers of an archive again, from the archive alone, and compare them.

    Fails where a number differs by more than the archive states, and where one could not be
    computed. Example: `discovery redo hit.zip`
    """
    from discovery.archive.redo import redo as compute
    from discovery.cli.bars import working

    with working(f"reading {archive}") as work:
        found = compute(archive, relax=relax, progress=work.say)
    bound = [one for one in found if one.binding]
    agree = all(one.agrees for one in bound if one.redone is not None)
    complete = bool(bound) and all(one.redone is not None for one in bound)
    if json:
        print_json(
            {
                "archive": str(archive),
                "agree": agree,
                "complete": complete,
                "values": [one.record() for one in found],
            }
        )
    else:
        _print(found)
        print(_verdict(agree, complete))
    if not (agree and complete):
        raise typer.Exit(1)


def _verdict(agree: bool, complete: bool) -> str:
    if not agree:
        return "numbers differ: something here is not what it was when they were computed"
    if not complete:
        return "what was computed agrees, but not everything could be"
    return "all numbers agree"


def _print(found: Sequence[Redone]) -> None:
    """Print a line for each kind of number, and one for each that is another or missing."""
    groups: dict[tuple[str, ...], list[Redone]] = {}
    for one in found:
        groups.setdefault((one.value.kind, one.value.property, one.value.on), []).append(one)
    print(f"{'model':11}{'number':26}{'crystal':14}{'redone':8}difference (allowed)")
    for (kind, name, on), members in groups.items():
        value = members[0].value
        known = [one.difference for one in members if one.difference is not None]
        largest = f"{max(known):.0e} ({value.tolerance:.0e} {value.unit})" if known else "-"
        print(f"{kind:11}{name:26}{on:14}{f'{len(known)}/{len(members)}':8}{largest}")
    for model, reason in dict.fromkeys(
        (one.value.model, one.reason) for one in found if one.reason
    ):
        print(f"{model} was not asked: {reason}")
    for one in found:
        if one.agrees is False:
            value = one.value
            what = "DIFFERS" if one.binding else "another minimum"
            print(
                f"{what}: {value.candidate} {value.model} {value.property} ({value.on}) was "
                f"{value.value:.6f} and is {one.redone:.6f} {value.unit}"
            )
