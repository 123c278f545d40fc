"""Fitting the prior to a code bank."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from model.bank import CodeBank
from model.codes import CrystalCodes
from model.generator import Generator
from model.prior.arrays import CodeArrays
from model.prior.code_prior import CodePrior
from model.prior.likelihood import PARTS, log_likelihood_parts
from model.prior.marginals import MarginalPrior
from model.prior.network import PriorNetwork
from model.prior.settings import PriorConfig
from model.prior.tables import NetworkTables

_GRADIENT_CLIP = 1.0
_WARM_UP = 0.1  # of all steps
_NATS_SCALE = 50.0  # nats of a typical crystal: keeps the loss of order one
_CHUNK = 256


@dataclass(frozen=True)
class PriorEpoch:
    """What one epoch did.

    Attributes:
        epoch: from 1 on.
        epochs: how many there will be.
        seconds: since the start.
        train_nats: mean nats a crystal in training (dropout on, both orders).
        val_nats: nats a crystal on held-out rows, chemistry first, by part.
    """

    epoch: int
    epochs: int
    seconds: float
    train_nats: float
    val_nats: dict[str, float]

    def __str__(self) -> str:
        """Return one line for a person."""
        parts = "  ".join(f"{name} {value:.2f}" for name, value in self.val_nats.items())
        return (
            f"prior epoch {self.epoch}/{self.epochs}  {self.seconds:.0f} s  "
            f"train {self.train_nats:.2f}  val {sum(self.val_nats.values()):.2f}  ({parts}) nats"
        )


def fit_prior(
    source: Generator | CodeBank,
    tables: NetworkTables,
    config: PriorConfig,
    *,
    seed: int,
    on_epoch: Callable[[PriorEpoch], None] | None = None,
) -> CodePrior:
    """Train a prior on the "train" rows of a bank; the "val" rows choose the epoch.

    Weights are rounded to float16, as they are stored, so a prior that was saved and loaded is
    the same one. The same bank, configuration and seed give the same prior on the same kind of
    processor.

    Args:
        source: a generator or its bank.
        tables: of the same generator (`network_tables`).
        config: sizes and training.
        seed: of weights, order of crystals and dropout.
        on_epoch: called after each epoch.

    Raises:
        ValueError: if the bank has no usable rows of either role.
    """
    started = time.perf_counter()
    bank = source.bank if isinstance(source, Generator) else source
    train, skipped = _rows(bank, "train", tables)
    held, held_skipped = _rows(bank, "val", tables)
    random = np.random.default_rng(seed)
    some = random.permutation(len(held))[: config.validation_rows]
    watched = CodeArrays.from_codes([held[i] for i in sorted(some)], tables)
    arrays = CodeArrays.from_codes(train, tables)
    with torch.random.fork_rng(devices=[]):  # dropout and weights use the global generator
        torch.manual_seed(seed)
        network = PriorNetwork(config, tables)
        best, best_state, epochs = math.inf, network.state_dict(), []
        for report in _epochs(network, arrays, watched, config, random, started):
            total = sum(report.val_nats.values())
            if total < best:
                best = total
                best_state = {k: v.half().clone() for k, v in network.state_dict().items()}
            epochs.append(round(total, 4))
            if on_epoch is not None:
                on_epoch(report)
    network.load_state_dict({k: v.float() for k, v in best_state.items()})
    network.eval()
    baseline = MarginalPrior.fit(bank, tables).log_likelihood([held[i] for i in sorted(some)])
    nats = held_out_nats(network, watched)
    card = {
        "seed": seed,
        "rows": {"train": len(train), "val": len(held)},
        "skipped": {"train": skipped, "val": held_skipped},
        "val_nats": {**{k: round(v, 3) for k, v in nats.items()}, "total": sum(nats.values())},
        "val_nats_geometry_first": sum(held_out_nats(network, watched, True).values()),
        "val_nats_marginals": -float(baseline.mean()),
        "val_nats_by_epoch": epochs,
        "parameters": sum(p.numel() for p in network.parameters()),
        "seconds": round(time.perf_counter() - started, 1),
    }
    return CodePrior(network, tables, config, card=card)


def _rows(bank: CodeBank, role: str, tables: NetworkTables) -> tuple[list[CrystalCodes], int]:
    """Return the rows whose every species token has an atom, and how many have not."""
    codes = [bank.codes(int(i)) for i in bank.rows(role)]
    if not codes:
        raise ValueError(f"the bank has no rows of role {role}")
    complete = CodeArrays.from_codes(codes, tables).complete.tolist()
    kept = [c for c, whole in zip(codes, complete) if whole]
    if not kept:
        raise ValueError(f"no {role} row of the bank has an atom for each of its species")
    return kept, len(codes) - len(kept)


def _epochs(
    network: PriorNetwork,
    arrays: CodeArrays,
    watched: CodeArrays,
    config: PriorConfig,
    random: np.random.Generator,
    started: float,
) -> Iterator[PriorEpoch]:
    """Train epoch by epoch."""
    matrices = [p for p in network.parameters() if p.ndim == 2]
    others = [p for p in network.parameters() if p.ndim != 2]
    optimiser = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        betas=(0.9, 0.98),
    )
    per_epoch = -(-len(arrays) // config.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        config.learning_rate,
        total_steps=per_epoch * config.epochs + 1,
        pct_start=_WARM_UP,
    )
    for epoch in range(config.epochs):
        network.train()
        total = 0.0
        for rows in _batches(arrays, config.batch_size, random):
            geometry_first = bool(random.random() < config.geometry_first_share)
            with torch.autocast("cpu", torch.bfloat16, enabled=config.mixed_precision):
                parts = log_likelihood_parts(
                    network, arrays.select(rows), geometry_first=geometry_first
                )
            nats = -torch.stack([parts[name] for name in PARTS]).sum(0).mean()
            optimiser.zero_grad()
            (nats / _NATS_SCALE).backward()
            nn.utils.clip_grad_norm_(network.parameters(), _GRADIENT_CLIP)
            optimiser.step()
            schedule.step()
            total += nats.item() * len(rows)
        network.eval()
        yield PriorEpoch(
            epoch=epoch + 1,
            epochs=config.epochs,
            seconds=time.perf_counter() - started,
            train_nats=total / len(arrays),
            val_nats=held_out_nats(network, watched),
        )


def _batches(arrays: CodeArrays, size: int, random: np.random.Generator) -> Iterator[Tensor]:
    """Yield row numbers of batches of similar length, in random order."""
    length = (arrays.n_atoms + arrays.n_species).numpy() + 0.9 * random.random(len(arrays))
    batches = torch.from_numpy(length.argsort()).split(size)
    for i in random.permutation(len(batches)).tolist():
        yield batches[i]


@torch.inference_mode()
def held_out_nats(
    network: PriorNetwork, arrays: CodeArrays, geometry_first: bool = False
) -> dict[str, float]:
    """Return the mean nats a crystal of each part (evaluation mode)."""
    sums = dict.fromkeys(PARTS, 0.0)
    order = (arrays.n_atoms + arrays.n_species).argsort()
    for rows in order.split(_CHUNK):
        parts = log_likelihood_parts(network, arrays.select(rows), geometry_first=geometry_first)
        for name, value in parts.items():
            sums[name] -= float(value.sum())
    return {name: value / len(arrays) for name, value in sums.items()}
