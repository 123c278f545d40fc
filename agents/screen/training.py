"""Training a screen: a table of labelled crystals in, a checkpoint with its model card out."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch

from agents.screen.alignn_checkpoint import ModelCard, write_checkpoint
from agents.screen.alignn_graph import batch_graphs, build_graph
from agents.screen.alignn_network import ALIGNNNetwork
from agents.screen.megnet_golden import golden_crystals
from agents.screen.training_data import ScreenData, described, read_screen_data
from agents.screen.training_evaluation import calibrate, measure, remember
from agents.screen.training_loop import ScreenTraining, StepReport, predict
from agents.screen.training_settings import ScreenTrainConfig
from model.training.state import TrainingFolder


def train_screen(
    config: ScreenTrainConfig,
    *,
    table: Path,
    out: Path,
    device: str = "cpu",
    restart: bool = False,
    stop_after: int | None = None,
    on_report: Callable[[StepReport], None] = lambda _: None,
    on_stage: Callable[[str], None] = lambda _: None,
) -> ModelCard:
    """Train ALIGNN and write its checkpoint.

    The validation split chooses the epoch whose weights are kept and calibrates the error bars; the
    test split is predicted once, when all is decided. The same configuration, data, device and
    number of threads give the same weights, also if the process is killed and this is called again:
    the state is kept in ``OUT.partial`` until the checkpoint is complete.

    Args:
        config: What to train.
        table: Labelled crystals, as in `agents.screen.training_data`.
        out: Folder of the checkpoint; an existing one is replaced at the end.
        device: torch device.
        restart: Forget an unfinished training of the same ``out``.
        stop_after: Epochs after which the best weights so far become the checkpoint; the state is
            kept and the training can be continued. None trains to the end of the schedule.
        on_report: Called after each part of an epoch, when its state is saved.
        on_stage: Called with the name of each stage when it begins.

    Returns:
        The checkpoint's card.

    Raises:
        UnusableState: ``OUT.partial`` belongs to another configuration or other data.
        TrainingInProgress: Another process trains into ``out``.
        NonFiniteLoss: A loss stops being a number; the last saved state is kept.
        ValueError: The table cannot be used.
    """
    folder = TrainingFolder(out)
    with folder.locked():
        if restart:
            folder.clear()
        on_stage("graphs")
        shape = config.shape
        data = read_screen_data(table, shape.properties, shape.cutoff, max_rows=config.max_rows)
        on_stage("network")
        training = train_network(
            config,
            data,
            folder,
            device=torch.device(device),
            stop_after=stop_after,
            on_report=on_report,
        )
        on_stage("evaluation")
        command = f"discovery train-screen --config {config.name} --out OUT"
        if not training.finished:
            command += f" --stop-after {training.epochs_done}"
        card = _assemble(config, training, data, out, command)
        if training.finished:
            folder.clear()
    return card


def train_network(
    config: ScreenTrainConfig,
    data: ScreenData,
    folder: TrainingFolder,
    *,
    device: torch.device,
    stop_after: int | None = None,
    on_report: Callable[[StepReport], None] = lambda _: None,
) -> ScreenTraining:
    """Train from where an earlier process was left, or from the beginning.

    Args:
        config: What to train.
        data: With splits ``train`` and ``val``.
        folder: State and history; locked by the caller.
        device: torch device.
        stop_after: Epochs after which to stop, None for all.
        on_report: Called after each part, when its state is saved.

    Returns:
        The training, finished or stopped.
    """
    expected = {"config": config.fingerprint(), "sha256": data.sha256}
    state = folder.load(expected)
    training = ScreenTraining(config, data, device=device)
    if state is not None:
        training.load_state_dict(state)
    folder.begin(training.history)
    last = config.epochs if stop_after is None else min(stop_after, config.epochs)
    while training.epochs_done < last:
        report = training.run_part()
        folder.save(training.state_dict(), expected, report)
        on_report(report)
    return training


def _assemble(
    config: ScreenTrainConfig, training: ScreenTraining, data: ScreenData, out: Path, command: str
) -> ModelCard:
    network, properties = training.best_network(), config.shape.properties
    val, test = data.splits["val"], data.splits["test"]
    predicted = {"val": predict(network, val), "test": predict(network, test)}
    calibration = {
        name: calibrate(predicted["val"][:, i], val.labels[:, i])
        for i, name in enumerate(properties)
    }
    errors = {
        name: measure(
            predicted[name],
            data.splits[name],
            properties,
            calibration,
            network.linear,
            config.max_train_atoms,
        )
        for name in predicted
    }
    about = described(config.dataset)
    domain = remember(training.train_set, about.name)
    card = {
        "package": f"alignn {version('alignn')}, {type(network.core).__name__}",
        "level": about.level,
        "functional": about.functional,
        "domain": domain.name,
        "training_data": (
            f"{about.name}, {len(training.train_set)} rows of at most {config.max_train_atoms} "
            f"atoms; {about.split}"
        ),
        "licence": about.licence,
        "config": config.model_dump(mode="json"),
        "training": {"command": command, **training.record(), "isolated_rows": data.isolated},
        "golden": _golden(network),
        "calibration": calibration,
        "errors": errors,
        "sha256": {"data": data.sha256},
    }
    return write_checkpoint(out, network, domain, card)


def _golden(network: ALIGNNNetwork) -> dict[str, dict[str, float]]:
    """Ask the new weights about the known crystals, for the gate that every later load passes."""
    crystals, shape = golden_crystals(), network.shape
    graphs = [build_graph(crystal, shape.cutoff) for crystal in crystals.values()]
    with torch.inference_mode():
        rows = network(batch_graphs(graphs, shape.angle_cutoff)).tolist()
    return {
        formula: {name: round(value, 4) for name, value in zip(shape.properties, row)}
        for formula, row in zip(crystals, rows)
    }
