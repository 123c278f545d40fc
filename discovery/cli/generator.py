"""``train`` and ``evaluate``: the generator on its own."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from discovery.cli.output import print_json


class Split(enum.StrEnum):
    """Official splits of a data set."""

    train = "train"
    val = "val"
    test = "test"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    evaluate = typer.Typer(help="Measure a generator.", no_args_is_help=True)
    evaluate.command("reconstruction")(reconstruction)
    app.command()(train)
    app.add_typer(evaluate, name="evaluate")


def train(
    config: Annotated[str, typer.Option(help="Name in configs/model, or the path of a YAML file.")],
    out: Annotated[Path, typer.Option(help="Folder of the checkpoint to write.")],
    device: Annotated[str, typer.Option(help="torch device, for instance cuda:0.")] = "cpu",
    label: Annotated[
        list[str] | None,
        typer.Option(
            help="TARGET=FILE.csv.gz (id,value): labels of one more level of theory; repeatable."
        ),
    ] = None,
) -> None:
    """Train a generator and write its checkpoint with code bank and model card.

    Example: `discovery train --config perov5 --out checkpoints/perov5`
    """
    from rich.console import Console

    from discovery.training import train_generator

    console = Console(stderr=True)
    path = train_generator(config, out=out, device=device, labels=label or [], console=console)
    print(path)


def reconstruction(
    dataset: Annotated[str, typer.Option(help="Name of the data set, for instance perov5.")],
    split: Annotated[Split, typer.Option(help="Official split.")] = Split.test,
    checkpoint: Annotated[
        str | None, typer.Option(help="Name or folder; default: the data set's own.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many rows.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Encode and decode a split, and match against the originals (SCIENCE: plain StructureMatcher).

    Example: `discovery evaluate reconstruction --dataset perov5 --split test --json`
    """
    from agents.paths import data_path
    from model.generator import Generator
    from model.metrics.reconstruction import reconstruction as measure

    folder = data_path(f"{dataset}_{split.value}.csv.gz").parent
    generator = Generator.load(checkpoint or dataset)
    result = measure(generator, dataset=dataset, split=split.value, data_dir=folder, limit=limit)
    if json:
        print_json(result)
        return
    for key, value in result.items():
        print(f"{key:24} {value}")
