"""The epochs of a network: everything that moves, in one object that can be saved."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.data.cache import cached_tensors
from model.data.tensors import shuffled_batches
from model.networks.build import build_network
from model.networks.network import CodeNetwork
from model.settings import LossWeights, TrainConfig
from model.training.corpus import Corpus
from model.training.precision import accelerate, is_compiled, uses_bfloat16
from model.training.progress import (
    EpochReport,
    Validation,
    training_record,
    validated_epochs,
)
from model.training.validation import ValidationSet

_GRADIENT_CLIP = 1.0
_WARM_UP = 0.15  # of all steps
_REVIVAL_SHARE = 0.5  # of the epochs after which unused codes stay where they are


class NonFiniteLoss(ValueError):
    """A loss or gradient that is not a finite number; the state of the epoch before is kept."""


class NetworkTraining:
    """A network in training.

    Life: created untrained, inside `torch.random.fork_rng` with a seeded global generator, which
    k-means and the revival of codes draw from; perhaps `load_state_dict`; then `run_epoch` until
    `epoch` is `config.epochs`, and `state_dict` after any of them; at last `best_network`. The
    same state on the same device with the same number of threads continues to the same bits.

    Attributes:
        epoch: epochs done.
        history: their reports.
        best_epoch: the one that was validated best, 0 before any.
        resumed_after: epochs after which a state was loaded.
    """

    def __init__(
        self,
        config: TrainConfig,
        corpus: Corpus,
        *,
        device: torch.device,
        cache_dir: Path | None = None,
    ) -> None:
        """Create an untrained network and everything it needs.

        Args:
            config: of the training.
            corpus: the data.
            device: to train on.
            cache_dir: folder of cached canonical tensors.
        """
        self.config, self.device = config, device
        self.epoch, self.seconds = 0, 0.0
        self.history: list[EpochReport] = []
        self.resumed_after: list[int] = []
        self.best_epoch = 0
        self._best: Validation | None = None
        self._best_weights: dict[str, Tensor] = {}
        labels = corpus.training_labels()
        crystals = cached_tensors(corpus.tables["train"], corpus.kept["train"], cache_dir)
        self._counts = crystals.n_atoms
        self.network: CodeNetwork = build_network(config, labels.shape[1])
        self.network.fit_scales(crystals)
        self._random = torch.Generator().manual_seed(config.seed)
        self.network.to(device)
        self._crystals, self._labels = crystals.to(device), labels.to(device)
        self.bfloat16 = uses_bfloat16(config, device)
        self.compiled = is_compiled(config, device)
        accelerate(self.network, device, bfloat16=self.bfloat16, compiled=self.compiled)
        validated = corpus.kept["val"][: config.validate_rows]
        crystals_to_judge = [corpus.tables["val"].crystals[i] for i in validated]
        self._validation = ValidationSet(crystals_to_judge, device)
        self._validated_epochs = validated_epochs(config.epochs, config.validate_every)
        self._n_batches = -(-len(labels) // config.batch_size)
        self._optimiser = torch.optim.AdamW(
            self.network.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            betas=(0.9, 0.98),
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser,
            config.learning_rate,
            total_steps=self._n_batches * config.epochs + 1,
            pct_start=_WARM_UP,
        )

    def run_epoch(self) -> EpochReport:
        """Train one epoch, validate if it is time, and keep the weights if they are the best.

        Raises:
            NonFiniteLoss: if a loss or gradient is not finite.
        """
        started = time.perf_counter()
        if self.epoch == 1:
            self.network.place_codebooks(
                self._crystals, batch_size=self.config.batch_size, random=self._random
            )
        if self.epoch >= _REVIVAL_SHARE * self.config.epochs:
            self.network.stop_revival()
        losses = self._train()
        self.epoch += 1
        validation = None
        if self.epoch in self._validated_epochs:
            validation = self._validate()
        self.seconds += time.perf_counter() - started
        quantisers = self.network.quantisers
        report = EpochReport(
            epoch=self.epoch,
            epochs=self.config.epochs,
            seconds=self.seconds,
            seconds_left=self.seconds / self.epoch * (self.config.epochs - self.epoch),
            learning_rate=self._schedule.get_last_lr()[0],
            losses=losses,
            perplexity={name: q.perplexity() for name, q in quantisers.items()},
            dead={name: q.dead_codes() for name, q in quantisers.items()},
            validation=validation,
            best=self.epoch == self.best_epoch,
        )
        self.history.append(report)
        return report

    def _train(self) -> dict[str, float]:
        """Go through the training crystals once; return the mean losses."""
        self.network.train()
        sums: dict[str, Tensor] = {}
        for batch in shuffled_batches(self._counts, self.config.batch_size, self._random):
            rows = batch.to(self.device)
            losses = self.network.losses(
                self._crystals.select(rows), self._labels[rows], discrete=self.epoch > 0
            )
            total = weighted_sum(losses, self.config.losses)
            self._refuse_non_finite(losses, total)
            self._optimiser.zero_grad()
            total.backward()
            norm = nn.utils.clip_grad_norm_(self.network.parameters(), _GRADIENT_CLIP)
            self._refuse_non_finite({"gradient": norm}, norm)
            self._optimiser.step()
            self._schedule.step()
            for name, value in {**losses, "total": total}.items():
                sums[name] = sums.get(name, 0.0) + value.detach()
        return {name: value.item() / self._n_batches for name, value in sums.items()}

    def _refuse_non_finite(self, terms: Mapping[str, Tensor], total: Tensor) -> None:
        """Stop before a value that is not finite reaches the weights."""
        if torch.isfinite(total):
            return
        found = ", ".join(
            f"{name} = {value.item()}" for name, value in terms.items() if not value.isfinite()
        )
        raise NonFiniteLoss(
            f"{found or 'the sum of the losses'} is not finite in epoch {self.epoch + 1} of "
            f"{self.config.epochs}; the state after epoch {self.epoch} is kept. Train anew with a "
            f"smaller learning rate (it is {self.config.learning_rate}) or in float32"
        )

    def _validate(self) -> Validation:
        """Judge the weights as a checkpoint would use them, and keep them if they are the best."""
        validation = self._validation.measure(self._plain_network(self.network.state_dict()))
        if self._best is None or validation.rank >= self._best.rank:
            self._best, self.best_epoch = validation, self.epoch
            self._best_weights = {
                name: value.detach().cpu().clone()
                for name, value in self.network.state_dict().items()
            }
        return validation

    def best_network(self) -> CodeNetwork:
        """Return a network with the best weights, on the CPU, in evaluation mode."""
        return self._plain_network(self._best_weights).cpu()

    def _plain_network(self, weights: Mapping[str, Tensor]) -> CodeNetwork:
        """Return a network that is neither compiled nor in mixed precision."""
        with torch.random.fork_rng(devices=[]):  # untrained weights must not cost random numbers
            network = build_network(self.config, self._labels.shape[1])
        network.load_state_dict(weights)
        return network.to(self.device).eval()

    def record(self) -> dict[str, Any]:
        """Return what a card says about the training."""
        conditions = {
            "device": self.device.type,
            "threads": torch.get_num_threads(),
            "precision": "bfloat16" if self.bfloat16 else "float32",
            "compiled": self.compiled,
            "resumed_after": self.resumed_after,
        }
        return training_record(self.history, self.best_epoch, conditions)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that moves: tensors and plain values.

        Whether unused codes are still revived follows from the epoch.
        """
        return {
            "epoch": self.epoch,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "random": self._random.get_state(),
            "global_random": torch.random.get_rng_state(),
            "device_random": self._device_random(),
            "history": [report.record() for report in self.history],
            "best": None
            if self._best is None
            else {"epoch": self.best_epoch, "weights": self._best_weights},
            "resumed_after": self.resumed_after,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of the same configuration and data."""
        self.epoch, self.seconds = state["epoch"], state["seconds"]
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self.history = [EpochReport.from_record(record) for record in state["history"]]
        if state["best"] is not None:
            self.best_epoch = state["best"]["epoch"]
            self._best = self.history[self.best_epoch - 1].validation
            self._best_weights = state["best"]["weights"]
        self.resumed_after = [*state["resumed_after"], self.epoch]
        self._random.set_state(state["random"])
        torch.random.set_rng_state(state["global_random"])
        if self.device.type == "cuda" and state["device_random"] is not None:
            torch.cuda.set_rng_state(state["device_random"], self.device)

    def _device_random(self) -> Tensor | None:
        """Return the state of the GPU's generator."""
        return torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None


def weighted_sum(losses: Mapping[str, Tensor], weights: LossWeights) -> Tensor:
    """Return the total loss."""
    return torch.stack([getattr(weights, name) * loss for name, loss in losses.items()]).sum()
