"""Training a generator: VQ-VAE, code bank and property head, from one configuration."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from model.assembly import assemble
from model.data.canonical import canonical
from model.data.dataset import CrystalTable, read_labels, read_split
from model.data.tensors import CrystalTensors, shuffled_batches
from model.networks.vqvae import CrystalVQVAE, weighted_sum
from model.settings import TrainConfig, load_train_config

__all__ = ["EpochReport", "TrainConfig", "load_train_config", "train"]

_GRADIENT_CLIP = 1.0
_WARM_UP = 0.15  # of all steps
_KMEANS_CRYSTALS = 4096  # crystals whose vectors place the codebooks
_REVIVAL_SHARE = 0.5  # of the epochs after which unused codes stay where they are


@dataclass(frozen=True)
class EpochReport:
    """What one epoch did.

    Attributes:
        epoch: from 1 on.
        epochs: how many there will be.
        seconds: since the start of the training.
        losses: unweighted means over the epoch, and "total".
        perplexity: effective number of codes in use, by quantiser and level.
    """

    epoch: int
    epochs: int
    seconds: float
    losses: dict[str, float]
    perplexity: dict[str, list[float]]

    def __str__(self) -> str:
        """Return one line for a person."""
        losses = "  ".join(f"{name} {value:.4f}" for name, value in self.losses.items())
        codes = "  ".join(
            f"{name} {'/'.join(f'{value:.0f}' for value in levels)}"
            for name, levels in self.perplexity.items()
        )
        return f"epoch {self.epoch}/{self.epochs}  {self.seconds:.0f} s  {losses}  | codes {codes}"


def train(
    config: TrainConfig,
    *,
    data_dir: Path,
    out: Path,
    device: str = "cpu",
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> Path:
    """Train a generator and write its checkpoint.

    The validation split is never trained on: it goes into the bank as the held-out set. The same
    configuration, data, device and number of threads give the same weights.

    Args:
        config: what to train.
        data_dir: directory of the data sets.
        out: checkpoint directory to write; an existing one is replaced at the end.
        device: torch device.
        on_epoch: called after each epoch.

    Returns:
        `out`.

    Raises:
        MissingDataset: if a data or label file is missing.
        ValueError: if labels or crystals cannot be used.
    """
    started = time.perf_counter()
    tables = {
        "train": read_split(config.dataset, "train", data_dir=data_dir, limit=config.limit),
        "val": read_split(config.dataset, "val", data_dir=data_dir, limit=config.limit),
    }
    label_hashes = {}
    for target, path in config.extra_labels.items():
        values, label_hashes[target] = read_labels(path)
        for table in tables.values():
            table.labels[target] = np.array([values.get(i, np.nan) for i in table.ids])
    kept = {role: _usable(table, config) for role, table in tables.items()}
    model = _fit(config, tables["train"], kept["train"], device, on_epoch, started).cpu()
    return assemble(
        config,
        model,
        tables,
        kept,
        label_hashes=label_hashes,
        data_dir=data_dir,
        out=out,
        started=started,
    )


def _usable(table: CrystalTable, config: TrainConfig) -> list[int]:
    """Return the rows the model has room for."""
    rows = [
        i
        for i, crystal in enumerate(table.crystals)
        if len(crystal.numbers) <= config.model.max_atoms
        and len(set(crystal.numbers.tolist())) <= config.model.max_species
    ]
    if len(rows) < 2:
        raise ValueError(
            f"only {len(rows)} of {len(table)} crystals have at most {config.model.max_atoms} "
            f"atoms and {config.model.max_species} elements"
        )
    return rows


def _fit(
    config: TrainConfig,
    table: CrystalTable,
    rows: list[int],
    device: str,
    on_epoch: Callable[[EpochReport], None] | None,
    started: float,
) -> CrystalVQVAE:
    """Train the VQ-VAE with the joint property output."""
    crystals = CrystalTensors.from_canonical([canonical(table.crystals[i]) for i in rows])
    labels = _standardised_labels(table.labels, rows).to(device)
    random = torch.Generator().manual_seed(config.seed)
    counts = crystals.n_atoms
    with torch.random.fork_rng(devices=[]):  # k-means and revival draw from the global generator
        torch.manual_seed(config.seed)
        model = CrystalVQVAE(config.model, labels.shape[1])
        model.lattice.fit_scale(crystals.cell, crystals.n_atoms)
        model, crystals = model.to(device), crystals.to(device)
        optimiser = torch.optim.AdamW(
            model.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            betas=(0.9, 0.98),
        )
        n_batches = -(-len(rows) // config.batch_size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser,
            config.learning_rate,
            total_steps=n_batches * config.epochs + 1,
            pct_start=_WARM_UP,
        )
        for epoch in range(config.epochs):
            if epoch == 1:
                _place_codebooks(model, crystals, config.batch_size, random)
            if epoch >= _REVIVAL_SHARE * config.epochs:
                for quantiser in model.quantisers.values():
                    quantiser.stop_revival()
            model.train()
            sums: dict[str, Tensor] = {}
            for batch in shuffled_batches(counts, config.batch_size, random):
                chosen = batch.to(device)
                losses = model.losses(crystals.select(chosen), labels[chosen], discrete=epoch > 0)
                total = weighted_sum(losses, config.losses)
                optimiser.zero_grad()
                total.backward()
                nn.utils.clip_grad_norm_(model.parameters(), _GRADIENT_CLIP)
                optimiser.step()
                schedule.step()
                for name, value in {**losses, "total": total}.items():
                    sums[name] = sums.get(name, 0.0) + value.detach()
            if on_epoch is not None:
                on_epoch(
                    EpochReport(
                        epoch=epoch + 1,
                        epochs=config.epochs,
                        seconds=time.perf_counter() - started,
                        losses={name: value.item() / n_batches for name, value in sums.items()},
                        perplexity={k: q.perplexity() for k, q in model.quantisers.items()},
                    )
                )
    return model.eval()


@torch.no_grad()
def _place_codebooks(
    model: CrystalVQVAE, crystals: CrystalTensors, batch_size: int, random: torch.Generator
) -> None:
    """Initialise every codebook by k-means over many crystals, so batch order does not matter."""
    model.eval()
    chosen = torch.randperm(len(crystals), generator=random)[:_KMEANS_CRYSTALS]
    sample = crystals.select(chosen.to(crystals.n_atoms.device))
    share = batch_size / len(sample)
    lattice = model.lattice.standardise(sample.cell, sample.n_atoms)
    encoding = model.encoder(sample, lattice)
    for quantiser, vectors in (
        (model.roles, encoding.role[sample.mask]),
        (model.axes, encoding.axes[sample.mask].flatten(0, 1)),
        (model.species, encoding.species[encoding.present]),
    ):
        quantiser.initialise(vectors, typical_batch=max(1, round(share * len(vectors))))
    # The crystal token depends on what the other codebooks now say about the lattice.
    base = model.quantise(sample, discrete=False).lattice_base
    token = model.encoder.crystal_token(encoding.pooled, lattice - base)
    model.crystal.initialise(token, typical_batch=batch_size)


def _standardised_labels(labels: Mapping[str, np.ndarray], rows: list[int]) -> Tensor:
    """Return (n, T) labels with mean 0 and deviation 1, NaN where unknown."""
    columns = []
    for name, values in labels.items():
        own = torch.from_numpy(values[rows]).float()
        known = own[~own.isnan()]
        if len(known) < 2:
            raise ValueError(f"{name} has {len(known)} labels on the training crystals")
        columns.append((own - known.mean()) / known.std().clamp(min=1e-6))
    return torch.stack(columns, -1) if columns else torch.zeros(len(rows), 0)
