"""What the training of a prior can be told."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class PriorConfig(BaseModel):
    """Sizes and training of the prior over codes; the defaults are MP-20's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(default=128, ge=8, description="hidden width")
    heads: int = Field(default=4, ge=1, description="attention heads; must divide the width")
    blocks: int = Field(default=3, ge=1, description="transformer blocks over items")
    expansion: int = Field(default=4, ge=1, description="hidden width of a block's feed-forward")
    dropout: float = Field(default=0.1, ge=0, lt=1)
    epochs: int = Field(default=16, ge=1)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    geometry_first_share: float = Field(
        default=0.3, ge=0, le=1, description="batches in which the geometry comes before chemistry"
    )
    validation_rows: int = Field(
        default=1500, ge=1, description="held-out crystals scored after each epoch"
    )
    mixed_precision: bool = Field(
        default=True, description="bfloat16 products in training; weights stay float32"
    )

    @model_validator(mode="after")
    def _heads_divide_width(self) -> PriorConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self
