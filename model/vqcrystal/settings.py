"""Sizes of the VQCrystal network."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class VQCrystalConfig(BaseModel):
    """Sizes and code budget; the defaults are the Perov-5 budget of the paper.

    Budgets of doi 10.1038/s41524-025-01613-6 (local codes x depth, global codes x depth, width of
    a code): Perov-5 32 x 2, 64 x 8, 32; Carbon-24 32 x 2, 32 x 8, 32; MP-20 128 x 4, 128 x 8, 64;
    C2DB 64 x 4, 64 x 8, 32.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_atoms: int = Field(
        default=20, ge=1, le=256, description="largest cell the model has room for"
    )
    width: int = Field(default=64, ge=4, description="hidden width everywhere")
    heads: int = Field(default=4, ge=1, description="attention heads; must divide the width")
    local_blocks: int = Field(default=2, ge=1, description="transformer layers of the encoder")
    graph_blocks: int = Field(default=1, ge=1, description="GCN layers of the global branch")
    cspnet_blocks: int = Field(default=2, ge=1, description="CSPNet layers of the global branch")
    decoder_blocks: int = Field(default=3, ge=1, description="layers of the atom transformer")
    lattice_blocks: int = Field(default=1, ge=1, description="layers of the lattice transformer")
    property_blocks: int = Field(default=1, ge=1, description="layers of the property transformer")
    frequencies: int = Field(
        default=8, ge=1, description="Fourier terms of a fractional difference in CSPNet"
    )
    cutoff: float = Field(default=5.0, gt=0, description="radius of the GCN's neighbourhood, Å")
    gaussians: int = Field(default=16, ge=2, description="Gaussians of a distance in the GCN")
    code_dim: int = Field(default=32, ge=2, description="width d of a code vector")
    local_codes: int = Field(default=32, ge=2, le=32767)
    local_levels: int = Field(default=2, ge=1, description="residual depth of an atom's codes")
    global_codes: int = Field(default=64, ge=2, le=32767)
    global_levels: int = Field(default=8, ge=1, description="residual depth of the crystal's codes")
    shared_codebook: bool = Field(default=True, description="one codebook for all depths")
    temperature: float = Field(
        default=0.1, ge=0, description="of the sampling of codes in training; 0 takes the nearest"
    )
    settle: bool = Field(
        default=True, description="late training takes the nearest code instead of sampling"
    )
    codebook_decay: float = Field(
        default=0.98, gt=0, lt=1, description="EMA decay of the codebooks"
    )
    dead_code_threshold: float = Field(
        default=0.3, ge=0, description="EMA use below which a code moves"
    )
    lattice_from_codes: bool = Field(
        default=False,
        description="show the lattice transformer the codes, not only the reconstructed atoms",
    )

    @model_validator(mode="after")
    def _heads_divide_width(self) -> VQCrystalConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self
