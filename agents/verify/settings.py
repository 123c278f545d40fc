"""Settings of the verification agent."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    field_validator,
    model_validator,
)

from agents.extensions import DFT_CODES, extensions
from agents.prediction import OutOfDomain
from agents.slab import MIN_VACUUM
from agents.targets import OTHER_REFERENCES, UNITS

BACKENDS = ("auto", "gpaw", "vasp", "none")

_CHOICE_RULE = {
    *("acquisition", "cost_exponent", "novelty_weight", "unpredicted_probability"),
    *("error_widths", "control_share", "consensus", "ignored_levels", "max_core_hours"),
    "counted_out_of_domain",
    "max_core_seconds",
}


class VerifySettings(BaseModel):
    """Which candidates are verified by DFT, how many, and at which settings.

    Units: seconds, eV. The control arm is SCIENCE §4: without calls drawn at random from the same
    pool no acceleration can be claimed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: str = Field(
        default="auto",
        description='"auto" is GPAW where it is installed, "none" verifies nothing; "gpaw", '
        '"vasp", or a code that an installed package brings',
    )
    preset: Literal["fast", "standard", "mp24", "mp24-pbe"] = Field(
        default="fast", description='named set of DFT settings; "mp24" and "mp24-pbe" are VASP\'s'
    )

    relax: bool = Field(
        default=False, description="relax each candidate by DFT before its energy is computed"
    )
    slab_vacuum: float | None = Field(
        default=None,
        ge=MIN_VACUUM + 1,  # a layer that grows thicker in its relaxation stays a slab
        description="candidates are slabs, computed with so much vacuum, Å; None: they are bulk. A "
        "campaign file says that they are slabs once, by its dimensionality",
    )
    separate_gap: bool | None = Field(
        default=None,
        description="confirm the gap in a calculation of its own; None: yes, but not for the "
        'preset "fast", whose cells are so small that starting a process costs more',
    )

    # Budget
    max_core_hours: float | None = Field(
        default=None,
        gt=0,
        description="core-hours of DFT that the campaign may spend: measured, in flight and next",
    )
    max_submitted: int = Field(default=8, ge=0, description="candidates sent to DFT at most")
    max_completed: int = Field(
        default=3, ge=0, description="stop after so many candidates with a result"
    )
    max_concurrent: int = Field(
        default=3, ge=1, description="candidates at the DFT code at the same time"
    )
    min_pool: int = Field(
        default=8, ge=1, description="wait for so many screened candidates before the first choice"
    )

    # Choice
    acquisition: Literal["cheapest", "window", "probability"] = Field(
        default="cheapest",
        description='"cheapest": inside the predicted windows first, then by estimated cost; '
        '"window": by the distance of the predictions to the windows, then by cost; '
        '"probability": by the probability to be inside all windows, for its cost',
    )
    cost_exponent: float = Field(
        default=1.0,
        ge=0,
        le=2,
        description="for probability: 1 ranks by hits per core-hour, 0 by hits per call",
    )
    novelty_weight: float = Field(
        default=0.0,
        ge=0,
        description="for probability: w; the formula of a training crystal is worth exp(-w)",
    )
    unpredicted_probability: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="for probability: of a window that no model judges for a candidate",
    )
    error_widths: dict[str, PositiveFloat] = Field(
        default={},
        description="for probability: standard deviation of models that give none, and of all "
        'outside their domain, by "model:property" (eV or eV/atom), in place of the measured ones',
    )
    control_share: float = Field(
        default=0.2, ge=0, lt=1, description="share of the calls drawn at random from the same pool"
    )
    consensus: tuple[str, ...] = Field(
        default=(), description="models whose predictions count in the choice; empty: every model"
    )
    ignored_levels: tuple[str, ...] = Field(
        OTHER_REFERENCES,
        description="levels of theory whose numbers do not mean what the windows mean",
    )
    counted_out_of_domain: tuple[OutOfDomain, ...] = Field(
        default=(),
        description="reasons out of domain that do not silence a prediction in the choice; where a "
        "campaign does not say, those of its screen",
    )
    max_core_seconds: float | None = Field(
        default=None,
        gt=0,
        description="calculations estimated above this are not chosen; None: 0.5 of the timeout",
    )

    # Running
    timeout_seconds: float = Field(
        default=180.0, gt=0, description="wall-clock limit of one attempt at a calculation"
    )
    max_attempts: int = Field(
        default=4,
        ge=1,
        description="attempts at self-consistency, each with other settings "
        "(agents.verify.setup.ladder); 1: none but the first",
    )
    launchers: int = Field(
        default=1, ge=0, description="launcher processes started by the campaign"
    )
    nice: int = Field(default=5, ge=0, le=19, description="niceness of the DFT processes")
    ping_seconds: float = Field(
        default=5.0, gt=0, description="a running launcher reports this often"
    )
    lost_seconds: float = Field(
        default=60.0, gt=0, description="a launcher silent for so long is taken for dead"
    )
    max_launches: int = Field(
        default=2, ge=1, description="launches of one calculation, lost ones included"
    )

    @field_validator("backend")
    @classmethod
    def _check_backend(cls, name: str) -> str:
        if name not in BACKENDS and name not in (brought := extensions(DFT_CODES)):
            raise ValueError(f"there is no backend {name!r}: {', '.join((*BACKENDS, *brought))}")
        return name

    @model_validator(mode="after")
    def _check_ranges(self) -> VerifySettings:
        if self.lost_seconds < 3 * self.ping_seconds:
            raise ValueError(
                f"lost_seconds {self.lost_seconds:g} must be at least three times ping_seconds "
                f"{self.ping_seconds:g}: otherwise living launchers are taken for dead"
            )
        for key in self.error_widths:
            if key.rpartition(":")[2] not in UNITS:
                raise ValueError(
                    f"error_widths names {key!r}: write model:property, for instance "
                    "megnet:band_gap"
                )
        if self.max_completed > self.max_submitted:
            raise ValueError(
                f"max_completed {self.max_completed} exceeds max_submitted {self.max_submitted}: "
                "so many results can never come back"
            )
        if self.preset.startswith("mp24") and self.backend != "vasp":
            raise ValueError(
                f"preset {self.preset} is an input set of VASP, but backend is {self.backend}: "
                "set backend: vasp, or choose fast or standard"
            )
        return self

    @property
    def has_separate_gap(self) -> bool:
        """Whether the gap is a calculation of its own."""
        return self.preset != "fast" if self.separate_gap is None else self.separate_gap

    @property
    def choice_rule(self) -> dict[str, Any]:
        """The settings that a choice follows, as recorded with it."""
        return self.model_dump(mode="json", include=_CHOICE_RULE)

    @property
    def affordable_core_seconds(self) -> float:
        """Largest estimated cost of one calculation that is still chosen, s."""
        if self.max_core_seconds is not None:
            return self.max_core_seconds
        return 0.5 * self.timeout_seconds

    def no_longer_than(self, seconds: float) -> VerifySettings:
        """Return the settings with a limit on what one calculation is estimated to take.

        Args:
            seconds: Core-seconds; a smaller limit of the settings' own stays.
        """
        limit = min(seconds, self.affordable_core_seconds)
        return self.model_copy(update={"max_core_seconds": limit})
