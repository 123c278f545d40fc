"""``verify``: screens and DFT on a person's own structures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from discovery.cli import completion
from discovery.cli.options import Database, JsonList
from discovery.cli.output import UsageError, print_json, print_progress

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from agents.verify.settings import VerifySettings


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(verify)


def verify(
    files: Annotated[list[Path], typer.Argument(help="CIF, POSCAR or extended XYZ files.")],
    backend: Annotated[
        str,
        typer.Option(
            help="DFT code: gpaw, vasp, or one of an installed package.",
            autocompletion=completion.dft_codes,
        ),
    ] = "gpaw",
    preset: Annotated[
        str,
        typer.Option(
            help="fast or standard; with vasp also mp24 (r2SCAN) and mp24-pbe.",
            autocompletion=completion.presets,
        ),
    ] = "fast",
    relax: Annotated[bool, typer.Option("--relax", help="Relax by DFT first.")] = False,
    slab_vacuum: Annotated[
        float | None,
        typer.Option(help="They are slabs, vacuum along c: compute them with so much, Å (12)."),
    ] = None,
    timeout_minutes: Annotated[
        float, typer.Option(min=0.1, help="Limit of one calculation.")
    ] = 120.0,
    workers: Annotated[
        int, typer.Option(min=0, help="Calculations at a time; 0: others work off the queue.")
    ] = 1,
    db: Database = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write the inputs and the estimate; run nothing.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the inputs of --dry-run.")] = None,
    json: JsonList = False,
) -> None:
    """Compute energy, band gap and formation energy of crystals by DFT, as a campaign does.

    The elemental references are computed, too, once for all. Ctrl-C gives back what is running;
    the same command continues, and nothing is computed twice.

    Example: `discovery verify POSCAR crystal.cif --backend gpaw --preset standard --json`
    """
    from agents.verify.backend import dft_codes
    from discovery.structures.files import StructureFileError, read_each

    if backend not in dft_codes():
        raise UsageError(f"there is no DFT code {backend!r}: {', '.join(dft_codes())}")
    if dry_run and out is None:
        raise UsageError("--dry-run writes a folder of inputs: name it with --out DIR")
    settings = _settings(
        backend=backend,
        preset=preset,
        relax=relax,
        slab_vacuum=slab_vacuum,
        timeout_seconds=60 * timeout_minutes,
    )
    read = read_each(files)
    crystals = {name: one for name, one in read.items() if not isinstance(one, StructureFileError)}
    unread = {name: str(one) for name, one in read.items() if isinstance(one, StructureFileError)}
    for reason in unread.values():
        print_progress(reason)
    screened = _screen(crystals)
    if dry_run and out is not None:
        computed = _dry_run(crystals, settings, out)
    else:
        computed = _compute(crystals, settings, workers, db) if crystals else {}
    records = [
        {**screened[name], "calculation": computed[name]} if name in crystals
        else _unread(name, unread[name])
        for name in read
    ]  # fmt: skip
    if json:
        print_json(records)
    else:
        for record in records:
            print(_line(record))
    if all(record["calculation"]["status"] == "failed" for record in records):
        raise typer.Exit(1)


def _settings(**values: Any) -> VerifySettings:
    from pydantic import ValidationError

    from agents.verify.settings import VerifySettings

    try:
        return VerifySettings.model_validate(values)
    except ValidationError as error:
        faults = [
            f"--{str(fault['loc'][0]).replace('_', '-')}: {fault['msg']}"
            if fault["loc"]
            else fault["msg"]
            for fault in error.errors()
        ]
        raise UsageError("; ".join(faults)) from error


def _screen(crystals: Mapping[str, Structure]) -> dict[str, dict[str, Any]]:
    """Return what `discovery screen` says of each crystal, with every model that is here."""
    from agents.screen.files import screen_structures
    from agents.screen.settings import ScreenSettings
    from discovery.cli.bars import working
    from discovery.cli.screen import load_screens

    if not crystals:
        return {}
    records: dict[str, dict[str, Any]] = {}
    with working("loading the models of the screens") as work:
        screens, absent = load_screens(ScreenSettings(), None, "cpu")
        work.part("screening", len(crystals), "crystals")
        for record in screen_structures(crystals, screens, absent=absent):
            records[record["id"]] = record
            work.at(len(records))
    return records


def _compute(
    crystals: Mapping[str, Structure], settings: VerifySettings, workers: int, db: str | None
) -> dict[str, dict[str, Any]]:
    from discovery.cli.bars import working
    from discovery.structures.verification import VerifyOptions, verify_structures

    try:
        options = VerifyOptions(settings, workers, db)
        with working("preparing the calculations") as work:

            def tell(done: int, total: int) -> None:
                if not done:
                    work.part("computing", total, "calculations")
                work.at(done, total)

            return verify_structures(crystals, options, announce=work.say, progress=tell)
    except KeyboardInterrupt:
        print_progress("interrupted: the same command continues, and nothing is computed twice")
        raise typer.Exit(130) from None


def _dry_run(
    crystals: Mapping[str, Structure], settings: VerifySettings, out: Path
) -> dict[str, dict[str, Any]]:
    from agents.verify.backend import load_backend
    from agents.verify.dry_run import REFERENCES, dry_run
    from agents.verify.files import elements_of
    from discovery.cli.bars import working

    with working("writing the inputs"):
        backend = load_backend(settings.backend)
        records = dry_run(crystals, backend, backend.settings(settings.preset), settings, out)
    references = records.pop(REFERENCES)
    parts = [*records.values(), *references.values()]
    hours = [one.get("estimated_core_hours") for one in parts]
    known = [value for value in hours if value is not None]
    unknown = len(hours) - len(known)
    if known:
        text = f"estimate: {sum(known):.3g} core-hours, the elemental references included"
        print_progress(f"{text}{f', but for {unknown} without one' if unknown else ''}")
    else:
        print_progress("estimate: none, for what it rests on is not on this machine")
    for reason in sorted({one["reason"] for one in parts if one.get("reason")}):
        print_progress(reason)
    print_progress(f"inputs of {len(parts)} crystals and elements written to {out}")
    for name, record in records.items():
        own = elements_of(crystals[name])
        record["references"] = {
            element: references[element] for element in own if element in references
        }
    return records


def _unread(name: str, reason: str) -> dict[str, Any]:
    """Return the record of a crystal that cannot be read."""
    from agents.screen.files import failure

    calculation = {"status": "failed", "reason": reason}
    return {**failure(name, reason), "calculation": calculation}


def _line(record: dict[str, Any]) -> str:
    """Describe one crystal for a person."""
    title = f"{record['id']}  {record['formula'] or ''}"
    calculation = record["calculation"]
    if calculation["status"] != "completed":
        return f"{title}  {calculation['status']}: {calculation['reason'] or calculation['folder']}"
    gap = "metal" if calculation["is_metal"] else f"gap {calculation['band_gap']:.2f} eV"
    corrected = calculation["formation_energy_per_atom_mp2020"]
    beside = "" if corrected is None else f" ({corrected:.3f} with MP2020)"
    return (
        f"{title}  E_f {calculation['formation_energy_per_atom']:.3f} eV/atom{beside}  {gap}  "
        f"{calculation['level']}"
    )
