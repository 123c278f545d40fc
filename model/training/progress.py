"""What a training tells while it runs, and what its card remembers of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

NETWORK_STAGE = "network"
"""Name of the epochs' stage; those of the assembly follow it ("bank", "head", "prior")."""

_DIGITS = 4  # significant digits of a loss in the card


@dataclass(frozen=True)
class Validation:
    """How many validation crystals come back from their codes.

    Attributes:
        n: crystals tried.
        match_rate: fraction of 1, by `model.metrics.matching` at the plain tolerance.
        rms: mean over the matches, in units of (V/N)^(1/3); None without a match.
    """

    n: int
    match_rate: float
    rms: float | None

    @property
    def rank(self) -> tuple[float, float]:
        """A key that is larger for the better of two: by match rate, then by rms."""
        return self.match_rate, -math.inf if self.rms is None else -self.rms


@dataclass(frozen=True)
class EpochReport:
    """What one epoch did.

    Attributes:
        epoch: from 1 on.
        epochs: how many there will be.
        seconds: of training up to here, those before an interruption included.
        seconds_left: estimate for the epochs that remain.
        learning_rate: at the end of the epoch.
        losses: unweighted means over the epoch, and "total".
        perplexity: effective number of codes in use, by quantiser and level.
        dead: number of codes used less than the revival threshold, by quantiser and level.
        validation: where this epoch was validated.
        best: whether its weights are the best so far.
        stage: of the training; the epochs are those of the network.
    """

    epoch: int
    epochs: int
    seconds: float
    seconds_left: float
    learning_rate: float
    losses: dict[str, float]
    perplexity: dict[str, list[float]]
    dead: dict[str, list[int]]
    validation: Validation | None = None
    best: bool = False
    stage: str = NETWORK_STAGE

    def __str__(self) -> str:
        """Return one line for a person."""
        losses = "  ".join(f"{name} {value:.4f}" for name, value in self.losses.items())
        codes = "  ".join(
            f"{name} {'/'.join(f'{value:.0f}' for value in levels)}"
            + (f" ({'/'.join(map(str, self.dead[name]))} dead)" if any(self.dead[name]) else "")
            for name, levels in self.perplexity.items()
        )
        line = (
            f"epoch {self.epoch}/{self.epochs}  {self.seconds:.0f} s, {self.seconds_left:.0f} s "
            f"left  lr {self.learning_rate:.1e}  {losses}  | codes {codes}"
        )
        if self.validation is None:
            return line
        rms = "none" if self.validation.rms is None else f"{self.validation.rms:.4f}"
        star = " (best)" if self.best else ""
        return f"{line}  | match {self.validation.match_rate:.2%} rms {rms}{star}"

    def record(self) -> dict[str, Any]:
        """Return plain values for JSON; a loss is finite by then."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> EpochReport:
        """Return the report of a `record`."""
        validation = record["validation"]
        return cls(
            **{**record, "validation": None if validation is None else Validation(**validation)}
        )


def validated_epochs(epochs: int, every: int | None) -> frozenset[int]:
    """Return the epochs after which to validate, counted from 1; the last is always among them.

    The first epoch has no codes yet and is never validated.

    Args:
        epochs: of the training.
        every: distance between them, counted back from the last; None spreads five evenly.
    """
    if every is None:
        chosen = {round(epochs * part / 5) for part in range(1, 6)}
    else:
        chosen = set(range(epochs, 0, -every))
    return frozenset(chosen - {0, 1}) | {epochs}


def training_record(
    history: Sequence[EpochReport], best_epoch: int, conditions: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a card says about the training: one list a series instead of one item an epoch.

    Args:
        history: all epochs.
        best_epoch: whose weights the checkpoint has.
        conditions: device, precision and the like.
    """
    first = history[0]
    return {
        **conditions,
        "epochs": len(history),
        "best_epoch": best_epoch,
        "seconds": round(history[-1].seconds, 1),
        "losses": {name: [_short(r.losses[name]) for r in history] for name in first.losses},
        "perplexity": {
            name: [[_short(r.perplexity[name][i]) for r in history] for i in range(len(levels))]
            for name, levels in first.perplexity.items()
        },
        "dead_codes": history[-1].dead,
        "validation": [
            {"epoch": r.epoch, **asdict(r.validation)} for r in history if r.validation is not None
        ],
    }


def _short(value: float) -> float:
    """Round to a few significant digits."""
    return float(f"{value:.{_DIGITS}g}")
