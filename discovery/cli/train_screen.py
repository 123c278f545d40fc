"""``train-screen``: ALIGNN from a table of labelled crystals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("train-screen")(train_screen)


def train_screen(
    out: Annotated[Path, typer.Option(help="Folder of the checkpoint to write.")],
    config: Annotated[
        str, typer.Option(help="Name in configs/screen, or the path of a YAML file.")
    ] = "alignn",
    device: Annotated[str, typer.Option(help="torch device, for instance cuda:0.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of the training.")] = 1,
    stop_after: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Write the best weights after so many epochs of the schedule; can be continued.",
        ),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget an unfinished training of the same folder.")
    ] = False,
) -> None:
    """Train the ALIGNN screen and write its checkpoint with its model card.

    A training that was interrupted, even killed, continues when the same command is given again.
    Progress goes to the error stream, and as JSON lines to OUT.partial/history.jsonl.

    Example: `discovery train-screen --out checkpoints/alignn`
    """
    from rich.console import Console

    from discovery.models.screen_training import train_alignn

    console = Console(stderr=True)
    train_alignn(
        config,
        out=out,
        device=device,
        threads=threads,
        stop_after=stop_after,
        restart=restart,
        console=console,
    )
    print(out)
