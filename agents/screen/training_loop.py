"""The steps of a screen's training: everything that moves, in one object that can be saved."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from agents.screen.alignn_graph import batch_graphs
from agents.screen.alignn_network import ALIGNNNetwork
from agents.screen.training_data import LabelledGraphs, ScreenData, fit_linear_part
from agents.screen.training_settings import ScreenTrainConfig

_JUDGED_AT_ONCE = 64


class NonFiniteLoss(ValueError):
    """A loss or gradient that is not a finite number; the last saved state is kept."""


@dataclass(frozen=True)
class StepReport:
    """What a training did since its last report.

    Attributes:
        step: Steps done, from the beginning.
        steps: How many there will be.
        epoch: Epochs begun.
        epochs: How many there will be.
        seconds: Of training up to here, those before an interruption included.
        cpu_seconds: CPU time of the process over the same time.
        seconds_left: Estimate.
        learning_rate: At the end.
        loss: Mean since the last report.
        validation: Property to mean absolute error, at the end of an epoch, else None.
        best: True if the averaged weights are the best so far.
    """

    step: int
    steps: int
    epoch: int
    epochs: int
    seconds: float
    cpu_seconds: float
    seconds_left: float
    learning_rate: float
    loss: float
    validation: dict[str, float] | None = None
    best: bool = False

    def __str__(self) -> str:
        """Return one line for a person."""
        line = (
            f"epoch {self.epoch}/{self.epochs}  step {self.step}/{self.steps}  "
            f"{self.seconds:.0f} s, {self.seconds_left:.0f} s left  lr {self.learning_rate:.1e}  "
            f"loss {self.loss:.4f}"
        )
        if self.validation is None:
            return line
        errors = "  ".join(f"{name} {value:.4f}" for name, value in self.validation.items())
        return f"{line}  | validation MAE {errors}{' (best)' if self.best else ''}"

    def record(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


class ScreenTraining:
    """A screen in training: L1 loss on standardised labels, AdamW, one cycle, averaged weights.

    Life: created untrained; perhaps `load_state_dict`; then `run_part` until `finished`, and
    `state_dict` after any of them; at last `best_network`. The order of the crystals follows from
    the seed and the epoch, so a training continued from a state gives the same weights as one that
    was not interrupted (on the same device, with the same number of threads).
    """

    def __init__(
        self, config: ScreenTrainConfig, data: ScreenData, *, device: torch.device
    ) -> None:
        """Create an untrained network and everything it needs.

        Args:
            config: Of the training.
            data: With splits ``train`` and ``val``.
            device: To train on.
        """
        self.config, self.device = config, device
        self.train_set: LabelledGraphs = data.splits["train"].at_most(config.max_train_atoms)
        self.validation_set = data.splits["val"].first(config.validate_rows)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.network = ALIGNNNetwork(config.shape)
        self.network.linear, self.network.scale = fit_linear_part(data.splits["train"])
        linear = self.train_set.composition().float() @ self.network.linear
        self._targets = (self.train_set.labels - linear) / self.network.scale
        self.network.to(device)
        self.average = {k: v.clone() for k, v in self.network.core.state_dict().items()}
        self.step = 0
        self.seconds = self.cpu_seconds = 0.0
        self.best: dict[str, Any] | None = None
        self.history: list[StepReport] = []
        self.resumed_at: list[int] = []
        self._steps_per_epoch = -(-len(self.train_set) // config.batch_size)
        self.steps = self._steps_per_epoch * config.epochs
        self._optimiser = torch.optim.AdamW(
            self.network.core.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser,
            config.learning_rate,
            total_steps=self.steps + 1,
            pct_start=config.warm_up,
        )
        self._residual: Callable[..., Tensor] = self.network.core_output
        if config.compile:
            self._residual = torch.compile(self.network.core_output, dynamic=True)

    @property
    def finished(self) -> bool:
        """True when all steps are done."""
        return self.step == self.steps

    @property
    def epochs_done(self) -> int:
        """Whole epochs done."""
        return self.step // self._steps_per_epoch

    def run_part(self) -> StepReport:
        """Train up to the next report: ``save_every`` steps, or less at the end of an epoch.

        Raises:
            NonFiniteLoss: A loss or gradient is not finite.
        """
        started, cpu_started, begun_at = time.perf_counter(), time.process_time(), self.step
        self.network.train()
        total = 0.0
        for rows in self._batches():
            total += self._train_step(rows)
            self.step += 1
        validation, best = None, False
        if self.step % self._steps_per_epoch == 0:
            validation = self._validate()
            best = self._keep_if_best(validation)
        self.seconds += time.perf_counter() - started
        self.cpu_seconds += time.process_time() - cpu_started
        report = StepReport(
            step=self.step,
            steps=self.steps,
            epoch=-(-self.step // self._steps_per_epoch),
            epochs=self.config.epochs,
            seconds=round(self.seconds, 1),
            cpu_seconds=round(self.cpu_seconds, 1),
            seconds_left=round(self.seconds / self.step * (self.steps - self.step), 1),
            learning_rate=self._schedule.get_last_lr()[0],
            loss=total / (self.step - begun_at),
            validation=validation,
            best=best,
        )
        self.history.append(report)
        return report

    def best_network(self) -> ALIGNNNetwork:
        """Return the averaged weights of the epoch that was validated best."""
        if self.best is None:
            raise ValueError("no epoch was validated yet")
        network = ALIGNNNetwork(self.config.shape)
        network.linear, network.scale = self.network.linear.cpu(), self.network.scale.cpu()
        network.core.load_state_dict(self.best["weights"])
        return network.eval().requires_grad_(False)

    def record(self) -> dict[str, Any]:
        """Return what a card says about the training."""
        validated = [report for report in self.history if report.validation is not None]
        last = validated[-1]  # steps after it are in no weights that are kept
        return {
            "seed": self.config.seed,
            "device": str(self.device),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "rows": len(self.train_set),
            "steps": last.step,
            "epochs": last.epoch,
            "epochs_of_schedule": self.config.epochs,
            "seconds": round(last.seconds),
            "cpu_seconds": round(last.cpu_seconds),
            "resumed_at_steps": [step for step in self.resumed_at if step < last.step],
            "best_epoch": None if self.best is None else self.best["epoch"],
            "validated_rows": len(self.validation_set),
            "validation": [{"epoch": r.epoch, **(r.validation or {})} for r in validated],
        }

    def state_dict(self) -> dict[str, Any]:
        """Return what is needed to continue, as `torch.load(weights_only=True)` takes it."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "core": self.network.core.state_dict(),
            "average": self.average,
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "best": self.best,
            "history": [report.record() for report in self.history],
            "resumed_at": self.resumed_at,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where another process was."""
        self.step, self.seconds = state["step"], state["seconds"]
        self.cpu_seconds = state["cpu_seconds"]
        self.network.core.load_state_dict(state["core"])
        self.average = {name: value.to(self.device) for name, value in state["average"].items()}
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self.best = state["best"]
        self.history = [StepReport(**record) for record in state["history"]]
        self.resumed_at = [*state["resumed_at"], self.step]

    def _batches(self) -> Iterator[list[int]]:
        """Yield the rows of the steps up to the next report."""
        epoch, position = divmod(self.step, self._steps_per_epoch)
        random = torch.Generator().manual_seed(self.config.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.train_set), generator=random).tolist()
        size = self.config.batch_size
        end = min(position + self.config.save_every, self._steps_per_epoch)
        for batch in range(position, end):
            yield order[batch * size : (batch + 1) * size]

    def _train_step(self, rows: list[int]) -> float:
        graphs = [self.train_set.graphs[row] for row in rows]
        batch = batch_graphs(graphs, self.config.shape.angle_cutoff, str(self.device))
        bfloat16 = self.config.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16):
            output = self._residual(*batch.tensors())
        loss = (output.float() - self._targets[rows].to(self.device)).abs().mean()
        self._optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.core.parameters(), self.config.gradient_clip)
        if not torch.isfinite(loss + norm):
            raise NonFiniteLoss(
                f"loss {loss.item()}, gradient {norm.item()} in step {self.step + 1} of "
                f"{self.steps}: train anew with a smaller learning rate (it is "
                f"{self.config.learning_rate}) or in float32"
            )
        self._optimiser.step()
        self._schedule.step()
        decay = min(self.config.average_decay, (1 + self.step) / (10 + self.step))
        for name, value in self.network.core.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)
        return loss.item()

    def _validate(self) -> dict[str, float]:
        """Measure the averaged weights in float32."""
        network = ALIGNNNetwork(self.config.shape).to(self.device)
        network.linear, network.scale = self.network.linear, self.network.scale
        network.core.load_state_dict(self.average)
        errors = (predict(network, self.validation_set) - self.validation_set.labels).abs()
        return dict(zip(self.config.shape.properties, errors.mean(dim=0).tolist(), strict=True))

    def _keep_if_best(self, validation: dict[str, float]) -> bool:
        """Compare the mean error in units of the scale; keep a copy of better weights."""
        scaled = torch.tensor(list(validation.values())) / self.network.scale.cpu()
        error = float(scaled.mean())
        if self.best is not None and error >= self.best["error"]:
            return False
        weights = {name: value.cpu().clone() for name, value in self.average.items()}
        self.best = {"error": error, "epoch": self.epochs_done, "weights": weights}
        return True


def predict(network: ALIGNNNetwork, data: LabelledGraphs) -> Tensor:
    """Return (n, P) predictions in the properties' units.

    Args:
        network: On any device.
        data: Crystals.
    """
    network.eval()
    device = str(network.scale.device)
    order = sorted(range(len(data)), key=lambda i: len(data.graphs[i].first))
    found = torch.empty(len(data), len(network.shape.properties))
    with torch.inference_mode():
        for start in range(0, len(order), _JUDGED_AT_ONCE):
            rows = order[start : start + _JUDGED_AT_ONCE]
            graphs = [data.graphs[row] for row in rows]
            batch = batch_graphs(graphs, network.shape.angle_cutoff, device)
            found[rows] = network(batch).cpu()
    return found
