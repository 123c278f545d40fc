"""What `discovery train` can be told: the model's sizes, its losses and its training run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from model.errors import InvalidConfig
from model.prior.settings import PriorConfig
from model.vqcrystal.settings import VQCrystalConfig
from model.yaml_files import UnreadableYAML, read_yaml_file


class ModelConfig(BaseModel):
    """Sizes of the VQ-VAE; defaults are the Perov-5 ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_species: int = Field(
        default=5, ge=1, le=20, description="species slots: most elements a crystal"
    )
    max_atoms: int = Field(
        default=20, ge=1, le=256, description="largest cell the model has room for"
    )
    width: int = Field(default=64, ge=4, description="hidden width of encoder and decoder")
    heads: int = Field(default=4, ge=1, description="attention heads; must divide the width")
    encoder_blocks: int = Field(default=2, ge=1)
    decoder_blocks: int = Field(default=3, ge=1)
    local_dim: int = Field(default=32, ge=2, description="width of a role or axis code vector")
    species_dim: int = Field(default=32, ge=2, description="width of a species token")
    crystal_dim: int = Field(default=64, ge=2, description="width of the crystal token")
    role_codes: int = Field(default=64, ge=2, le=32767)
    axis_codes: int = Field(
        default=128, ge=2, le=32767, description="one codebook for the three axes"
    )
    species_codes: int = Field(default=64, ge=2, le=32767)
    species_levels: int = Field(default=2, ge=1)
    crystal_codes: int = Field(default=64, ge=2, le=32767)
    crystal_levels: int = Field(default=4, ge=1)
    coordinate_bins: int = Field(default=48, ge=8, description="bins of the periodic categorical")
    codebook_decay: float = Field(
        default=0.98, gt=0, lt=1, description="EMA decay of the codebooks"
    )
    dead_code_threshold: float = Field(
        default=0.3, ge=0, description="EMA use below which a code moves"
    )
    rotation_trick: bool = Field(
        default=False, description="gradient through the quantiser by rotation"
    )

    @model_validator(mode="after")
    def _heads_divide_width(self) -> ModelConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class LossWeights(BaseModel):
    """Weights of the training losses (species, coordinates: cross-entropy in nat)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    species: float = Field(default=1.0, ge=0)
    coordinates: float = Field(default=1.0, ge=0)
    lattice: float = Field(default=2.0, ge=0)
    lattice_base: float = Field(
        default=1.0, ge=0, description="lattice from species and roles alone"
    )
    role: float = Field(default=0.3, ge=0, description="role code → species slot")
    presence: float = Field(default=0.3, ge=0, description="atom or no more atoms")
    count: float = Field(
        default=0.1, ge=0, description="atom count from the global codes (vqcrystal)"
    )
    commitment: float = Field(default=0.25, ge=0)
    properties: float = Field(default=0.5, ge=0)


class HeadConfig(BaseModel):
    """The property head, trained on frozen features after the VQ-VAE."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(default=192, ge=1)
    members: int = Field(
        default=5, ge=2, description="ensemble size; the spread is the uncertainty"
    )
    epochs: int = Field(default=24, ge=1)
    batch_size: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=4e-3, gt=0)
    weight_decay: float = Field(default=0.02, ge=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    calibration_fraction: float = Field(
        default=0.1, gt=0, lt=1, description="rows kept for calibration"
    )


class DataConfig(BaseModel):
    """Own crystals in place of a published data set; see `model.data.sources.read_source`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: Path = Field(description="file or folder of crystals, from the working directory")
    val: Path = Field(description="the same, never trained on")
    labels: dict[str, str] = Field(
        default_factory=dict, description="target 'property@level' → column or key of its values"
    )


class TrainConfig(BaseModel):
    """One training run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="name of the checkpoint")
    architecture: Literal["discovery", "vqcrystal"] = Field(
        default="discovery", description="our network (`model`) or the published one (`vqcrystal`)"
    )
    dataset: Literal["perov5", "carbon24", "mp20", "c2db", "own"] = Field(
        default="perov5", description="a published data set, or own: the crystals of `data`"
    )
    data: DataConfig | None = Field(default=None, description="own crystals, with dataset: own")
    seed: int = Field(default=0, ge=0)
    epochs: int = Field(default=10, ge=2, description="the first one is unquantised")
    batch_size: int = Field(default=128, ge=2)
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    limit: int | None = Field(default=None, ge=2, description="train on the first rows only")
    precision: Literal["float32", "bfloat16", "auto"] = Field(
        default="auto",
        description="of the dense layers; auto: bfloat16 on a GPU that has it, float32 elsewhere",
    )
    compile: Literal["auto", "on", "off"] = Field(
        default="auto", description="torch.compile of the dense layers; auto: on a GPU only"
    )
    validate_every: int | None = Field(
        default=None,
        ge=1,
        description="epochs between validations; default: five, the last epoch always among them",
    )
    validate_rows: int = Field(
        default=200, ge=1, description="validation crystals whose match chooses the best epoch"
    )
    extra_labels: dict[str, Path] = Field(
        default_factory=dict,
        description="target 'property@level' → csv(.gz) with columns id, value",
    )
    model: ModelConfig = ModelConfig()
    vqcrystal: VQCrystalConfig = VQCrystalConfig()
    losses: LossWeights = LossWeights()
    head: HeadConfig = HeadConfig()
    prior: PriorConfig | None = Field(
        default=PriorConfig(), description="the prior over codes; null trains none"
    )

    @model_validator(mode="after")
    def _prior_reads_our_codes(self) -> TrainConfig:
        if self.architecture == "vqcrystal" and self.prior is not None:
            raise ValueError("there is no prior over VQCrystal's codes yet: set `prior: null`")
        if self.prior is not None and self.model.species_levels > 2:
            raise ValueError("the prior reads species tokens of up to 2 levels")
        return self

    @model_validator(mode="after")
    def _own_data_has_a_place(self) -> TrainConfig:
        if (self.dataset == "own") != (self.data is not None):
            raise ValueError("own crystals need both, `dataset: own` and a section `data`")
        return self

    @property
    def max_atoms(self) -> int:
        """Largest cell the chosen network has room for."""
        ours = self.architecture == "discovery"
        return self.model.max_atoms if ours else self.vqcrystal.max_atoms

    @property
    def max_species(self) -> int:
        """Most distinct elements of a crystal the chosen network has room for."""
        return self.model.max_species if self.architecture == "discovery" else self.max_atoms


def load_train_config(path: Path) -> TrainConfig:
    """Read a training configuration from YAML.

    Raises:
        InvalidConfig: if the file is missing, is not YAML, or has a wrong or unknown key.
    """
    if not path.is_file():
        raise InvalidConfig(f"there is no training configuration {path}")
    try:
        content = read_yaml_file(path)
    except UnreadableYAML as error:
        raise InvalidConfig(f"{path}: {error}") from error
    try:
        return TrainConfig(**content)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()
        )
        raise InvalidConfig(f"{path}: {problems}") from error
