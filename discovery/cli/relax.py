"""``relax``: the relaxation stage on a person's own structures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from discovery.cli import completion
from discovery.cli.options import Json
from discovery.cli.output import UsageError, print_json, print_progress


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(relax)


def relax(
    files: Annotated[list[Path], typer.Argument(help="CIF, POSCAR or extended XYZ files.")],
    potential: Annotated[
        str,
        typer.Option(
            help="chgnet, DPA-3.1-3M:HEAD, matgl:NAME, or a file.",
            autocompletion=completion.potentials,
        ),
    ] = "chgnet",
    second_potential: Annotated[
        str | None,
        typer.Option(
            help="Another potential that must agree on the result.",
            autocompletion=completion.potentials,
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="torch device, for instance cuda:0.")] = "cpu",
    max_steps: Annotated[int, typer.Option(min=0, help="Optimiser steps at most.")] = 100,
    fmax: Annotated[float, typer.Option(help="Stop below this force, eV/Å.")] = 0.03,
    pressure: Annotated[float, typer.Option(help="External pressure, GPa.")] = 0.0,
    slab: Annotated[
        bool, typer.Option("--slab", help="Slabs, vacuum along c: the cell moves in the plane.")
    ] = False,
    fixed_cell: Annotated[bool, typer.Option("--fixed-cell", help="Keep the cell.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="FILE.extxyz, or a folder of CIF files, to write.")
    ] = None,
    json: Json = False,
) -> None:
    """Relax crystals as a campaign does, and say what its rules make of them.

    Example: `discovery relax POSCAR crystal.cif --potential chgnet --out relaxed.extxyz`
    """
    from pydantic import ValidationError

    from agents.relax.agreement import SecondPotential
    from agents.relax.files import relax_structures
    from agents.relax.potential import load_potential
    from agents.relax.references import ElementalReferences
    from agents.relax.settings import RelaxSettings
    from discovery.cli.bars import working
    from discovery.structures.files import read_structures, write_structures

    try:
        settings = RelaxSettings(
            potential=potential,
            second_potential=second_potential,
            device=device,
            max_steps=max_steps,
            fmax=fmax,
            pressure=pressure,
            relax_cell=not fixed_cell,
            in_plane=slab,
        )
    except ValidationError as error:
        raise UsageError("; ".join(problem["msg"] for problem in error.errors())) from error
    structures = read_structures(files)
    records, relaxed = [], {}
    with working(f"loading {potential}") as work:
        loaded = load_potential(potential, device=device)
        references = ElementalReferences.load(loaded)
        if loaded.test_model:
            work.say(f"{loaded.level} is a test model: its numbers say nothing about crystals")
        second = None
        if second_potential:
            other = load_potential(second_potential, device=device)
            difference = settings.second_potential_max_difference
            second = SecondPotential(other, ElementalReferences.load(other), difference)
        work.part("relaxing", len(structures), "crystals")
        for record, crystal in relax_structures(
            structures, loaded, references, settings, second, work.at
        ):
            records.append(record)
            if crystal is not None and record["energy"] is not None:
                relaxed[record["id"]] = crystal
    if out is not None:
        write_structures(relaxed, out)
        print_progress(f"{len(relaxed)} crystals written to {out}")
    document = {
        "potential": {
            "name": loaded.name,
            "version": loaded.version,
            "level": loaded.level,
            "test_model": loaded.test_model,
        },
        "references": references.digest,
        "settings": settings.relaxation_record(),
        "crystals": records,
    }
    if json:
        print_json(document)
    else:
        for record in records:
            print(_line(record))
    if all(record.get("energy") is None for record in records):
        raise typer.Exit(1)


def _line(record: dict[str, Any]) -> str:
    """Describe one crystal for a person."""
    title = f"{record['id']}  {record['formula']}"
    if record.get("energy") is None:
        return f"{title}  {record['verdict']}: {record['detail']}"
    return (
        f"{title}  E_f {record['formation_energy_per_atom']:.3f} eV/atom  "
        f"max force {record['max_force']:.3f} eV/Å  {record['steps']} steps ({record['stop']})  "
        f"V/V0 {record['volume_ratio']:.3f}  {record['verdict']}"
    )
