"""What the training of a prior can be told."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

_LIMITS = ("floor", "elements_floor", "skeleton_floor", "spacing")


class Temperatures(BaseModel):
    """How sharply codes are drawn: 1 the prior itself, below 1 likelier codes, 0 the likeliest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    skeleton: float = Field(
        default=1.0, ge=0, allow_inf_nan=False, description="number of species and counts"
    )
    elements: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    tokens: float = Field(
        default=1.0, ge=0, allow_inf_nan=False, description="species tokens beyond the element"
    )
    geometry: float = Field(
        default=1.0, ge=0, allow_inf_nan=False, description="role and axis codes"
    )
    crystal: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="crystal token")
    floor: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="role, axis and species codes less likely than this share of the likeliest "
        "one are not drawn: cuts off the many unlikely codes, leaves broad distributions whole",
    )
    elements_floor: float = Field(default=0.0, ge=0, lt=1, description="the same for elements")
    skeleton_floor: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="the same for counts: odd ones leave no elements whose charges balance",
    )
    spacing: float = Field(
        default=0.0,
        ge=0,
        lt=0.5,
        description="atoms nearer to an earlier one than this (Euclidean distance in fractions "
        "of the cell) are not drawn, unless nothing else is left",
    )

    def scaled(self, factor: float) -> Temperatures:
        """Return these with all temperatures multiplied; floors and spacing stay."""
        values = self.model_dump()
        return Temperatures(**{k: v if k in _LIMITS else v * factor for k, v in values.items()})


TUNED = Temperatures(floor=0.1, elements_floor=0.1, skeleton_floor=0.15, spacing=0.1)
"""What crystals are drawn with unless something else is asked (measured on MP-20)."""


class PriorConfig(BaseModel):
    """Sizes and training of the prior over codes; the defaults are MP-20's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(default=128, ge=8, description="hidden width")
    heads: int = Field(default=4, ge=1, description="attention heads; must divide the width")
    blocks: int = Field(default=3, ge=1, description="transformer blocks over items")
    expansion: int = Field(default=4, ge=1, description="hidden width of a block's feed-forward")
    dropout: float = Field(default=0.1, ge=0, lt=1)
    epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(default=128, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    geometry_first_share: float = Field(
        default=0.25, ge=0, le=1, description="batches in which the geometry comes before chemistry"
    )
    validation_rows: int = Field(
        default=1500, ge=1, description="held-out crystals scored after each epoch"
    )
    sampling: Temperatures = Field(default=TUNED, description="how it is drawn from by default")
    mixed_precision: bool = Field(
        default=True, description="bfloat16 products in training; weights stay float32"
    )

    @model_validator(mode="after")
    def _heads_divide_width(self) -> PriorConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self
