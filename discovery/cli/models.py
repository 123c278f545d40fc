"""``models``: potentials, screens and generators by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from discovery.cli import completion
from discovery.cli.options import Json
from discovery.cli.output import print_json

app = typer.Typer(help="Potentials, screens and generator checkpoints.", no_args_is_help=True)


@app.command("list")
def list_models(json: Json = False) -> None:
    """List what can be named in a campaign file.

    Example: `discovery models list`
    """
    from discovery.models.catalogue import catalogue

    entries = catalogue()
    if json:
        print_json(entries)
        return
    for entry in entries:
        print(f"{entry['kind']:10} {entry['name']:28} {entry['note']}")


@app.command()
def check(
    name: Annotated[
        str,
        typer.Argument(
            help="A potential's name (DPA-3.1-3M:HEAD, matgl:NAME) or file, megnet, alignn, or a "
            "generator's name.",
            autocompletion=completion.models,
        ),
    ],
    json: Json = False,
) -> None:
    """Run the sanity gate of a model: known crystals, known values. Exits with 1 if it is refused.

    Example: `discovery models check chgnet`
    """
    from discovery.cli.bars import working
    from discovery.models.catalogue import check as run_check

    with working(f"checking {name}"):
        report = run_check(name)
    if json:
        print_json(report)
    else:
        print(f"{report['name']} {report['version']}: {report['verdict']}")
        for line in report["checks"]:
            print(f"  {line}")
    raise typer.Exit(0 if report["verdict"] == "accepted" else 1)


@app.command()
def fetch(
    name: Annotated[
        str,
        typer.Argument(
            help="A model of OpenLAM (DPA-3.1-3M) or matgl:NAME.",
            autocompletion=completion.potentials,
        ),
    ],
) -> None:
    """Download the weights of a potential from where they are published; continues if interrupted.

    Example: `discovery models fetch DPA-3.1-3M`
    """
    from discovery.cli.bars import working
    from discovery.models.catalogue import fetch as fetch_weights

    with working(f"fetching {name}") as work:
        work.part(f"fetching {name}", unit="MB")
        path = fetch_weights(
            name, lambda done, total: work.at(done / 1e6, None if total is None else total / 1e6)
        )
    print(path)


@app.command()
def references(
    potential: Annotated[
        str, typer.Option(help="Name of the potential.", autocompletion=completion.potentials)
    ] = "chgnet",
    out: Annotated[
        Path | None,
        typer.Option(help="File of the table to write; default: where campaigns look for it."),
    ] = None,
    elements: Annotated[
        str | None, typer.Option(help="Only these, Na,Cl,O; default: all there are.")
    ] = None,
) -> None:
    """Compute the elemental reference energies of a potential; needs the reference data set.

    Example: `discovery models references --potential DPA-3.1-3M:HEAD`
    """
    from agents.paths import cache_path, data_path
    from agents.relax.potential import load_potential
    from agents.relax.reference_table import recompute
    from agents.relax.references import COMPUTED
    from discovery.cli.bars import working

    folder = data_path("mp_ref2025_le20.csv.gz").parent
    with working(f"loading {potential}"):
        loaded = load_potential(potential)
    chosen = [symbol.strip() for symbol in elements.split(",")] if elements else None
    path = out or cache_path("models") / COMPUTED / f"{loaded.level}.json"
    with working("computing the reference phases") as work:
        written = recompute(loaded, folder, path, elements=chosen, progress=work.say)
    print(written)


@app.command()
def label(
    dataset: Annotated[str, typer.Option(help="Name of the data set.")] = "perov5",
    potential: Annotated[
        str, typer.Option(help="Name of the potential.", autocompletion=completion.potentials)
    ] = "chgnet",
    out: Annotated[Path, typer.Option(help="CSV.gz file (id,value) to write.")] = Path(
        "labels.csv.gz"
    ),
) -> None:
    """Label a data set with single-point formation energies of a potential (eV/atom).

    Example: `discovery models label --dataset perov5 --out perov5_chgnet.csv.gz`
    """
    from agents.paths import data_path
    from agents.relax.labels import label_dataset
    from agents.relax.potential import load_potential
    from agents.relax.references import ElementalReferences
    from discovery.cli.bars import working

    folder = data_path(f"{dataset}_train.csv.gz").parent
    with working(f"loading {potential}") as work:
        loaded = load_potential(potential)
        references = ElementalReferences.load(loaded)
        work.part(f"labelling {dataset}", unit="labels")
        written = label_dataset(loaded, references, folder, out, dataset=dataset, progress=work.at)
    print(f"{written} labels in {out}")
