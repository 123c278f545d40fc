"""``discovery train``: a model configuration in, a checkpoint out, with progress for a person."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from discovery.campaign.config import ConfigError
from model.yaml_files import UnreadableYAML, read_yaml_file

if TYPE_CHECKING:
    from rich.console import Console

    from model.settings import TrainConfig
    from model.training import EpochReport


def model_configs() -> list[str]:
    """Return the names of the model configurations that come with the package."""
    folder = resources.files("configs") / "model"
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    )


def read_model_config(name_or_file: str) -> dict[str, Any]:
    """Read a model configuration by its shipped name or from a YAML file.

    Raises:
        ConfigError: Unknown name or unreadable file.
    """
    if name_or_file.endswith((".yaml", ".yml")):
        if not Path(name_or_file).is_file():
            raise ConfigError(f"there is no model configuration {name_or_file}")
        return _read_yaml(Path(name_or_file))
    if name_or_file not in model_configs():
        near = difflib.get_close_matches(name_or_file, model_configs(), n=1)
        guess = f" Did you mean {near[0]}?" if near else ""
        raise ConfigError(
            f"unknown model configuration {name_or_file!r}: known are "
            f"{', '.join(model_configs())}, or give the path of a .yaml file.{guess}"
        )
    with resources.as_file(resources.files("configs") / "model") as folder:
        return _read_yaml(folder / f"{name_or_file}.yaml")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        return read_yaml_file(path)
    except UnreadableYAML as error:
        raise ConfigError(f"model configuration {path}: {error}") from error


def train_generator(
    name_or_file: str,
    *,
    out: Path,
    device: str,
    labels: Sequence[str],
    console: Console,
    restart: bool = False,
    network: Path | None = None,
) -> Path:
    """Train a generator, or continue its training, printing a line for each epoch.

    Args:
        name_or_file: A model configuration.
        out: Folder of the checkpoint.
        device: torch device.
        labels: ``TARGET=FILE`` pairs of extra labels.
        console: Where the progress goes; a terminal also gets a bar.
        restart: Forget an unfinished training of the same folder.
        network: A checkpoint whose network is kept: only head and prior are trained.

    Returns:
        The checkpoint's folder.

    Raises:
        ConfigError: The configuration or a label pair is wrong.
    """
    from agents.paths import cache_path, data_path
    from model.training import refit, train

    config = read_train_config(name_or_file, labels)
    folder = Path()
    if config.data is None:
        folder = data_path(f"{config.dataset}_train.csv.gz").parent
    if network is not None:
        with TrainingProgress(console, 0) as progress:
            return refit(
                config, network_of=network, data_dir=folder, out=out, on_stage=progress.stage
            )
    with TrainingProgress(console, config.epochs) as progress:
        return train(
            config,
            data_dir=folder,
            out=out,
            device=device,
            restart=restart,
            cache_dir=cache_path("tensors"),
            on_epoch=progress.epoch,
            on_stage=progress.stage,
        )


def read_train_config(name_or_file: str, labels: Sequence[str]) -> TrainConfig:
    """Read a configuration and add the extra labels to it.

    Raises:
        ConfigError: The configuration or a label pair is wrong.
    """
    from model.settings import TrainConfig

    content = read_model_config(name_or_file)
    for pair in labels:
        target, separator, file = pair.partition("=")
        if not separator or not Path(file).is_file():
            raise ConfigError(f"--label {pair!r}: expected TARGET=FILE with an existing file")
        content.setdefault("extra_labels", {})[target] = str(Path(file).absolute())
    try:
        return TrainConfig.model_validate(content)
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(f"{part!s:.60}" for part in fault["loc"])
        raise ConfigError(f"model configuration {name_or_file}: {key}: {fault['msg']}") from error


class TrainingProgress:
    """Lines for every reader, and on a terminal a bar below them while the training runs."""

    def __init__(self, console: Console, epochs: int) -> None:
        """Prepare for a number of epochs.

        Args:
            console: Where to print.
            epochs: Of the whole training.
        """
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        self._console, self._epochs = console, epochs
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, note="")

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def epoch(self, report: EpochReport) -> None:
        """Show an epoch that ended."""
        self._console.print(str(report), highlight=False, soft_wrap=True, markup=False)
        self._bar.update(
            self._task,
            total=report.epochs,
            completed=report.epoch,
            note=f"epoch {report.epoch}/{report.epochs}, {report.seconds_left:.0f} s left",
            refresh=True,
        )

    def stage(self, name: str) -> None:
        """Show a stage that begins."""
        self._console.print(f"stage {name}", highlight=False, markup=False)
        self._bar.update(self._task, description=name, total=None, completed=0, note="")
