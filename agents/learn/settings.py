"""Settings of the learning agent, checked before a campaign starts."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class FineTuneSettings(BaseModel):
    """How the property head is fine-tuned.

    Args:
        epochs: Most passes over the new labels.
        learning_rate: Step size of AdamW.
        weight_decay: Decay of AdamW.
        batch: Labelled crystals per step, half of them replayed from the training set.
        replay: Training crystals replayed for each labelled one, at most.
        replay_minimum: Training crystals replayed at least.
        stopping_fraction: Share of the labels and of the replay kept aside for early stopping.
        patience: Epochs without improvement before training stops.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    epochs: int = Field(default=40, ge=1)
    learning_rate: float = Field(default=3e-4, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    batch: int = Field(default=256, ge=2)
    replay: float = Field(default=4.0, ge=0)
    replay_minimum: int = Field(default=2000, ge=0)
    stopping_fraction: float = Field(default=0.15, gt=0, lt=0.5)
    patience: int = Field(default=6, ge=1)


class LearnSettings(BaseModel):
    """When the property head learns, and what it must show before it is used.

    Args:
        min_new_labels: Labels since the last learning event that start the next one.
        min_new_dft: DFT labels since the last learning event that start one as well.
        min_labels: New labels that any learning event needs.
        gate_fraction: Share of the new labels, the latest ones, that judge the challenger.
        bootstrap: Resamples of every bootstrap interval.
        confidence: Coverage of the intervals.
        min_judged: Labels that a target needs in the gate to be judged on its own.
        refit: Refit a challenger that passed on all labels before it goes live.
        finetune: How the challenger is trained.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    min_new_labels: int = Field(default=64, ge=1)
    min_new_dft: int = Field(default=3, ge=1)
    min_labels: int = Field(default=24, ge=4)
    gate_fraction: float = Field(default=0.3, gt=0, lt=1)
    bootstrap: int = Field(default=1000, ge=100)
    confidence: float = Field(default=0.95, gt=0, lt=1)
    min_judged: int = Field(default=8, ge=2)
    refit: bool = True
    finetune: FineTuneSettings = FineTuneSettings()

    @model_validator(mode="after")
    def _enough_to_split(self) -> Self:
        if self.min_labels * self.gate_fraction < 1:
            raise ValueError(
                f"gate_fraction {self.gate_fraction} of min_labels {self.min_labels} leaves no "
                "label for the gate: raise one of them"
            )
        return self
