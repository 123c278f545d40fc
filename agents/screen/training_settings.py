"""What `discovery train-screen` can be told."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from agents.screen.alignn_network import ALIGNNShape


class ScreenTrainConfig(BaseModel):
    """One training of the ALIGNN screen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    dataset: str = Field(default="mp2018_megnet", description="a table with a split column")
    seed: int = Field(default=0, ge=0)
    epochs: int = Field(default=12, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0, description="highest one of the cycle")
    warm_up: float = Field(default=0.1, gt=0, lt=1, description="share of the steps")
    weight_decay: float = Field(default=0.01, ge=0)
    gradient_clip: float = Field(default=1.0, gt=0)
    average_decay: float = Field(
        default=0.999, ge=0, lt=1, description="of the moving average of the weights that is kept"
    )
    max_train_atoms: int = Field(
        default=80,
        ge=1,
        description="larger cells are not trained on, but evaluated",
    )
    max_rows: int | None = Field(default=None, ge=1, description="of each split, for trials")
    validate_rows: int = Field(
        default=1000, ge=1, description="of the validation split, the first ones, after an epoch"
    )
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    save_every: int = Field(default=200, ge=1, description="steps between two saved states")
    shape: ALIGNNShape = ALIGNNShape()

    def fingerprint(self) -> dict[str, Any]:
        """Return what must be the same for a training to be continued."""
        return self.model_dump(mode="json", exclude={"save_every"})
