"""Training a generator: network, code bank and property head, from one configuration."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch

from model.assembly import assemble
from model.checkpoint import load_checkpoint
from model.settings import TrainConfig
from model.training.corpus import Corpus, read_corpus
from model.training.loop import NetworkTraining
from model.training.progress import NETWORK_STAGE, EpochReport
from model.training.state import TrainingFolder, fingerprint

_OF_HEAD_AND_PRIOR = ("head", "prior", "extra_labels", "data")


def train(
    config: TrainConfig,
    *,
    data_dir: Path,
    out: Path,
    device: str = "cpu",
    restart: bool = False,
    cache_dir: Path | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> Path:
    """Train a generator and write its checkpoint.

    The validation split is never trained on: it chooses the epoch whose weights are kept, and
    goes into the bank as the held-out set. The same configuration, data, device and number of
    threads give the same weights, also if the process is killed and this is called again: the
    state after each epoch is kept in `OUT.partial` until the checkpoint is complete.

    Args:
        config: what to train.
        data_dir: directory of the data sets.
        out: checkpoint directory to write; an existing one is replaced at the end.
        device: torch device.
        restart: forget an unfinished training of the same `out` instead of continuing it.
        cache_dir: folder of cached canonical tensors; None computes them each time.
        on_epoch: called after each epoch, when its state is saved.
        on_stage: called with the name of each stage when it begins.

    Returns:
        `out`.

    Raises:
        MissingDataset: if a data or label file is missing.
        UnusableState: if `OUT.partial` belongs to another configuration or other data.
        TrainingInProgress: if another process trains into `out`.
        NonFiniteLoss: if a loss stops being a number; the state of the epoch before is kept.
        ValueError: if labels or crystals cannot be used.
    """
    started = time.perf_counter()
    corpus = read_corpus(config, data_dir)
    folder = TrainingFolder(out)
    with folder.locked():
        if restart:
            folder.clear()
        if on_stage is not None:
            on_stage(NETWORK_STAGE)
        training = _train_network(
            config, corpus, folder, torch.device(device), cache_dir=cache_dir, on_epoch=on_epoch
        )
        started = min(started, time.perf_counter() - training.seconds)  # of all its parts
        assemble(
            config,
            training.best_network(),
            corpus.tables,
            corpus.kept,
            label_hashes=corpus.label_hashes,
            out=out,
            started=started,
            training=training.record(),
            on_stage=on_stage or (lambda _: None),
        )
        folder.clear()
    return out


def refit(
    config: TrainConfig,
    *,
    network_of: Path,
    data_dir: Path,
    out: Path,
    on_stage: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write a checkpoint with the trained network of another one and a new head and prior.

    Args:
        config: what to train; its network, data set and seed must be those of the checkpoint.
        network_of: folder of the checkpoint whose network is kept. It may be `out`.
        data_dir: directory of the data sets.
        out: checkpoint directory to write; an existing one is replaced at the end.
        on_stage: called with the name of each stage when it begins.

    Returns:
        `out`.

    Raises:
        MissingCheckpoint: if there is no such checkpoint.
        CorruptCheckpoint: if it is damaged.
        ValueError: if its network was trained with another configuration or other data.
    """
    started = time.perf_counter()
    corpus = read_corpus(config, data_dir)
    checkpoint = load_checkpoint(network_of)
    then = TrainConfig(**checkpoint.card["config"])
    differing = [
        key
        for key in TrainConfig.model_fields
        if key not in _OF_HEAD_AND_PRIOR and getattr(then, key) != getattr(config, key)
    ]
    if checkpoint.card["data"]["sha256"] != {k: t.sha256 for k, t in corpus.tables.items()}:
        differing.append("the data")
    if checkpoint.card["data"]["targets"] != list(corpus.tables["train"].labels):
        differing.append("the targets")
    if differing:
        raise ValueError(
            f"the network of {network_of} was trained with other settings of "
            f"{', '.join(differing)}: train a new one"
        )
    return assemble(
        config,
        checkpoint.model,
        corpus.tables,
        corpus.kept,
        label_hashes=corpus.label_hashes,
        out=out,
        started=started,
        training=checkpoint.card["training"],
        on_stage=on_stage,
    )


def _train_network(
    config: TrainConfig,
    corpus: Corpus,
    folder: TrainingFolder,
    device: torch.device,
    *,
    cache_dir: Path | None,
    on_epoch: Callable[[EpochReport], None] | None,
) -> NetworkTraining:
    """Train the network from where an earlier process left it, or from the beginning."""
    expected = fingerprint(config, corpus.hashes)
    state = folder.load(expected)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):  # k-means and revival use the global generator
        torch.manual_seed(config.seed)
        training = NetworkTraining(config, corpus, device=device, cache_dir=cache_dir)
        if state is not None:
            training.load_state_dict(state)
        folder.begin(training.history)
        while training.epoch < config.epochs:
            report = training.run_epoch()
            folder.save(training.state_dict(), expected, report)
            if on_epoch is not None:
                on_epoch(report)
    return training
