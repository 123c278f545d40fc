"""``discovery train-screen``: a screen's configuration in, a checkpoint out, with progress."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from discovery.campaign.config import ConfigError
from model.yaml_files import UnreadableYAML, read_yaml_file

if TYPE_CHECKING:
    from rich.console import Console

    from agents.screen.training_settings import ScreenTrainConfig


def read_screen_config(name_or_file: str) -> ScreenTrainConfig:
    """Read a screen's training by its shipped name or from a YAML file.

    Raises:
        ConfigError: Unknown name, unreadable file, or a value that cannot be.
    """
    from agents.screen.training_settings import ScreenTrainConfig

    shipped = resources.files("configs") / "screen" / f"{name_or_file}.yaml"
    if name_or_file.endswith((".yaml", ".yml")) and Path(name_or_file).is_file():
        path = Path(name_or_file)
    elif shipped.is_file():
        path = Path(str(shipped))
    else:
        raise ConfigError(
            f"there is no screen configuration {name_or_file!r}: give a name in configs/screen or "
            "the path of a .yaml file"
        )
    try:
        return ScreenTrainConfig.model_validate(read_yaml_file(path))
    except UnreadableYAML as error:
        raise ConfigError(f"screen configuration {name_or_file}: {error}") from error
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(f"{part!s:.60}" for part in fault["loc"])
        raise ConfigError(f"screen configuration {name_or_file}: {key}: {fault['msg']}") from error


def train_alignn(
    name_or_file: str,
    *,
    out: Path,
    device: str,
    threads: int,
    stop_after: int | None,
    restart: bool,
    console: Console,
) -> None:
    """Train ALIGNN, or continue its training, printing a line for each part.

    Args:
        name_or_file: A screen configuration.
        out: Folder of the checkpoint.
        device: torch device.
        threads: CPU threads.
        stop_after: Epochs after which the best weights so far become the checkpoint.
        restart: Forget an unfinished training of the same folder.
        console: Where the progress goes.

    Raises:
        ConfigError: The configuration is wrong.
        MissingFile: The table is in none of the searched folders.
    """
    config = read_screen_config(name_or_file)
    import torch

    from agents.paths import data_path
    from agents.screen.training import train_screen

    def say(line: object) -> None:
        console.print(str(line), highlight=False, soft_wrap=True, markup=False)

    torch.set_num_threads(threads)
    card = train_screen(
        config,
        table=data_path(f"{config.dataset}.csv.gz"),
        out=out,
        device=device,
        restart=restart,
        stop_after=stop_after,
        on_report=say,
        on_stage=lambda name: say(f"stage {name}"),
    )
    for split, errors in card.errors.items():
        found = ", ".join(f"{name} {value:g}" for name, value in errors.mae.items())
        say(f"{split}: MAE of {errors.crystals} crystals: {found}")
