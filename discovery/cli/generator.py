"""``train``: a generator from a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from discovery.cli import completion


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(train)


def train(
    config: Annotated[
        str,
        typer.Option(
            help="Name in configs/model, or the path of a YAML file.",
            autocompletion=completion.model_configs,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the checkpoint to write.")],
    device: Annotated[str, typer.Option(help="torch device, for instance cuda:0.")] = "cpu",
    label: Annotated[
        list[str] | None,
        typer.Option(
            help="TARGET=FILE.csv.gz (id,value): labels of one more level of theory; repeatable."
        ),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget an unfinished training of the same folder.")
    ] = False,
    network: Annotated[
        Path | None,
        typer.Option(help="Keep the network of this checkpoint; train only head and prior."),
    ] = None,
) -> None:
    """Train a generator and write its checkpoint with code bank and model card.

    A training that was interrupted, even killed, continues when the same command is given again.

    Example: `discovery train --config perov5 --out checkpoints/perov5`
    """
    from rich.console import Console

    from discovery.models.generator_training import train_generator

    console = Console(stderr=True)
    path = train_generator(
        config,
        out=out,
        device=device,
        labels=label or [],
        console=console,
        restart=restart,
        network=network,
    )
    print(path)
