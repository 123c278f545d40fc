"""``import-dft``: a laboratory's existing calculations as labels and references."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from discovery.cli.options import Database, Json
from discovery.cli.output import UsageError, print_json, print_progress

if TYPE_CHECKING:
    from agents.verify.imported.store import ImportReport


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(name="import-dft")(import_dft)


def import_dft(
    folder: Annotated[Path, typer.Argument(help="Folder, walked with everything below it.")],
    level: Annotated[
        str | None,
        typer.Option(help="Name of the level of theory of extended XYZ files, which cannot say."),
    ] = None,
    min_k_density: Annotated[
        float, typer.Option(min=0.0, help="Refuse coarser meshes: k-points per 1/Å (2π included).")
    ] = 1.5,
    db: Database = None,
    json: Json = False,
) -> None:
    """Record existing vasprun.xml, GPAW .gpw, extended XYZ files and records of our own.

    Each calculation gets the level of theory that its file says; elements in their reference phase
    become references of their level, and with them the compounds get formation energies. What is
    not converged or lacks what a level needs is listed with the reason. May be repeated.

    Example: `discovery import-dft ~/calculations --json`
    """
    from agents.verify.imported.store import import_folder
    from agents.verify.imported.text import LEVEL_NAME
    from db.connection import connect
    from discovery.cli.bars import working

    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    if level is not None and not LEVEL_NAME.fullmatch(level):
        raise UsageError(
            f"--level {level!r}: use letters, digits and . _ + -, for instance pbe-lab"
        )
    with working("opening the database") as work, connect(db):
        work.part(f"reading {folder}")
        report = import_folder(folder, level=level, min_k_density=min_k_density, progress=work.say)
    if json:
        print_json(report.record())
    else:
        _print(report)
    if not report.imported:
        print_progress(f"nothing in {folder} could be imported")
        raise typer.Exit(1)


def _print(report: ImportReport) -> None:
    new = sum(one["new"] for one in report.imported)
    kinds = Counter(one["kind"] for one in report.imported)
    print(
        f"{len(report.imported)} calculations ({kinds['compound']} of compounds, "
        f"{kinds['reference']} of references), {new} of them new; {len(report.refused)} refused, "
        f"{report.ignored} files of other kinds"
    )
    for name, found in report.levels.items():
        print(
            f"{name}: {found['compounds']} compounds, {found['with_formation_energy']} with a "
            f"formation energy; references of {', '.join(found['references']) or 'no element'}"
        )
        for element, number in found["missing_references"].items():
            print(f"  {number} compounds wait for a reference of {element}")
    for path, reason in report.refused.items():
        print(f"refused {path}: {reason}")
