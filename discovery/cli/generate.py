"""``generate``: new crystals from a generator's prior."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from discovery.cli import completion
from discovery.cli.options import Json
from discovery.cli.output import print_json, print_progress

_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(generate)


def generate(
    checkpoint: Annotated[
        str,
        typer.Option(help="Name or folder of a checkpoint.", autocompletion=completion.generators),
    ],
    n: Annotated[int, typer.Option("--n", min=1, help="How many crystals.")] = 10,
    formula: Annotated[str | None, typer.Option(help="Composition, for instance SrTiO3.")] = None,
    z: Annotated[int | None, typer.Option("--z", min=1, help="Formula units in the cell.")] = None,
    chemsys: Annotated[
        str | None, typer.Option(help="Exactly these elements, for instance Li-Fe-O.")
    ] = None,
    contains: Annotated[str | None, typer.Option(help="Elements that must occur: Li-O.")] = None,
    without: Annotated[str | None, typer.Option(help="Elements that must not: Pb-Cd.")] = None,
    n_atoms: Annotated[
        str | None, typer.Option(help="Atoms in the cell: 10, or 4:12 for a range.")
    ] = None,
    window: Annotated[
        list[str] | None,
        typer.Option(help="PROPERTY:LOWEST:HIGHEST by the property head; repeatable."),
    ] = None,
    temperature: Annotated[
        float,
        typer.Option(min=0.0, help="1 as tuned; below: likelier crystals, fewer of them new."),
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same crystals.")] = 0,
    reject_overlaps: Annotated[
        bool, typer.Option("--reject-overlaps", help="Leave out atoms closer than 0.5 Å.")
    ] = False,
    max_draws: Annotated[
        int | None, typer.Option(min=1, help="Most draws where conditions leave some out.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for CIF files, or a .extxyz or .json file.")
    ] = None,
    json: Json = False,
) -> None:
    """Draw new crystals, free or with conditions; with a formula this predicts structures.

    Example: `discovery generate --checkpoint mp20 --formula SrTiO3 --n 20 --out srtio3`
    """
    from discovery.cli.bars import working
    from discovery.models import generation
    from model.generator import Generator

    if out is not None:
        generation.check_output(out)
    with working(f"loading {checkpoint}"):
        generator = Generator.load(checkpoint)
    conditions = generation.read_conditions(
        targets=generator.head.targets,
        formula=formula,
        z=z,
        chemsys=chemsys,
        contains=contains,
        without=without,
        n_atoms=n_atoms,
        windows=window or [],
    )
    with working(f"drawing {n} crystals"):
        document, structures = generation.generate(
            generator,
            n,
            seed=seed,
            temperature=temperature,
            conditions=conditions,
            reject_overlaps=reject_overlaps,
            max_draws=max_draws,
        )
    if out is not None:
        written = generation.write(document, structures, out)
        print_progress(f"{written} crystals written to {out}")
    if document["found"] < n:
        print_progress(
            f"only {document['found']} of {n} crystals after {document['drawn']} draws; left out: "
            f"{document['rejected']}; --max-draws allows more"
        )
    if json:
        print_json(document)
        return
    for line in _lines(document):
        print(line)


def _lines(document: dict[str, Any]) -> list[str]:
    """Describe the first crystals for a person."""
    lines = []
    for record in document["crystals"][:_SHOWN]:
        if record["error"]:
            lines.append(f"{record['index']:5d}  no crystal: {record['error']}")
            continue
        values = "  ".join(
            f"{target} {value['mean']:.2f} ± {value['std']:.2f}"
            for target, value in record["predicted"].items()
        )
        nats = record["log_likelihood"]
        lines.append(
            f"{record['index']:5d}  {record['formula']:16} {record['n_atoms']:3d} atoms  "
            f"log p {'-inf' if nats is None else f'{nats:.1f}'}  {values}"
        )
    hidden = len(document["crystals"]) - len(lines)
    if hidden > 0:
        lines.append(f"… and {hidden} more")
    lines.append(
        f"{document['found']} crystals of {document['checkpoint']} "
        f"(generator {document['generator_version']}, prior {document['prior_version']}), "
        f"{document['drawn']} drawn, {document['invalid']} without a possible cell"
    )
    return lines
