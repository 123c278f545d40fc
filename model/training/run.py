"""Training a generator: network, code bank and property head, from one configuration."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch

from model.assembly import assemble
from model.settings import TrainConfig
from model.training.corpus import Corpus, read_corpus
from model.training.loop import NetworkTraining
from model.training.progress import NETWORK_STAGE, EpochReport
from model.training.state import TrainingFolder, fingerprint


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
            data_dir=data_dir,
            out=out,
            started=started,
            training=training.record(),
        )
        folder.clear()
    return out


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
