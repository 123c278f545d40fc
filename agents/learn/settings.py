"""Settings of the learning agent, checked before a campaign starts."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class FineTuneSettings(BaseModel):
    """How the property head is fine-tuned.

    Args:
        epochs: Passes over the labels and the rehearsed training crystals.
        learning_rate: Peak of the one-cycle schedule.
        weight_decay: Decay of AdamW.
        dropout: Drop-out of the hidden layers.
        batch: Crystals per step.
        replay: Share of the training crystals that is rehearsed in every pass.
        rare_weight: Largest weight of a crystal with a label of a rare target.
        calibration_fraction: Share of the crystals kept out to calibrate the uncertainty.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    epochs: int = Field(default=25, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=0.02, ge=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    batch: int = Field(default=256, ge=2)
    replay: float = Field(default=1.0, gt=0, le=1)
    rare_weight: float = Field(default=10.0, ge=1)
    calibration_fraction: float = Field(default=0.1, gt=0, lt=0.5)


class LearnSettings(BaseModel):
    """When the property head learns, and what it must show before it is used.

    Args:
        min_new_labels: Labels since the last learning event that start the next one.
        min_new_dft: DFT labels since the last learning event that start one as well.
        min_labels: New labels that any learning event needs.
        gate_fraction: Share of the new labels, the latest ones, that judge the challenger; at most
            half of them.
        bootstrap: Resamples of every bootstrap interval.
        confidence: Coverage of the intervals.
        min_judged: Labels that a target needs in the gate to be judged on its own; with fewer in
            the whole gate no challenger is trained.
        refit: Refit a challenger that passed on all labels before it goes live.
        imported_levels: Levels of theory of imported calculations (`discovery import-dft`) that
            the head learns, too; each is an output of its own.
        finetune: How the challenger is trained.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    min_new_labels: int = Field(default=96, ge=1)
    min_new_dft: int = Field(default=3, ge=1)
    min_labels: int = Field(default=24, ge=4)
    gate_fraction: float = Field(default=0.3, gt=0, le=0.5)
    bootstrap: int = Field(default=1000, ge=100)
    confidence: float = Field(default=0.95, gt=0, lt=1)
    min_judged: int = Field(default=8, ge=2)
    refit: bool = True
    imported_levels: tuple[str, ...] = ()
    finetune: FineTuneSettings = FineTuneSettings()

    @model_validator(mode="after")
    def _enough_to_split(self) -> Self:
        if self.min_labels * self.gate_fraction < 1:
            raise ValueError(
                f"gate_fraction {self.gate_fraction} of min_labels {self.min_labels} leaves no "
                "label for the gate: raise one of them"
            )
        return self
