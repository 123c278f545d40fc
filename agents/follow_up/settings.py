"""Settings of the follow-up of hits."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

#: Fields that decide about the answers of the potential; the others only limit what is asked.
POTENTIAL_FIELDS = (
    *("rattle", "energy_tolerance", "max_rms", "fmax", "stress_max", "max_steps"),
    *("phonons", "displacements", "supercell_length", "supercell_atoms", "mesh"),
    "imaginary_tolerance",
)


class FollowUpSettings(BaseModel):
    """Which questions verified hits are asked, and how many of them; ``max_hits`` switches it on.

    Units: Å, eV/atom, eV/Å, GPa, THz. The stability of a crystal is asked of the campaign's
    potential, everything else of the DFT code that verified it, at the same level of theory.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    max_hits: int = Field(default=0, ge=0, description="hits followed up at most; 0 is off")

    # Is it a minimum? (potential)
    rattle: float = Field(
        default=0.03, gt=0, le=0.3, description="every atom and the cell are moved so far, Å"
    )
    energy_tolerance: float = Field(
        default=0.02, gt=0, description="the energy may change so much, eV/atom"
    )
    max_rms: float = Field(
        default=0.05, gt=0, description="the atoms may end so far from where they were, rms, Å"
    )
    fmax: float = Field(
        default=0.005, gt=0, description="both relaxations stop below this force, eV/Å"
    )
    stress_max: float = Field(
        default=0.02, gt=0, description="and below this component of stress, GPa"
    )
    max_steps: int = Field(default=500, ge=1, description="optimiser steps of each relaxation")

    # Phonons (potential)
    phonons: bool = Field(default=True, description="phonons by the potential: is it a minimum?")
    displacements: tuple[float, ...] = Field(
        default=(0.02, 0.04),
        min_length=1,
        description="finite displacements, Å; a verdict holds only where all of them agree",
    )
    supercell_length: float = Field(
        default=9.0, gt=0, description="supercells are this wide in every direction, if they fit, Å"
    )
    supercell_atoms: int = Field(default=160, ge=8, description="atoms in a supercell at most")
    mesh: int = Field(
        default=8, ge=1, description="interpolated q-points along each reciprocal vector"
    )
    imaginary_tolerance: float = Field(
        default=0.1, ge=0, description="a frequency below minus this is imaginary, THz"
    )

    # The same level of DFT
    bands: bool = Field(default=True, description="bands along the high-symmetry path")
    spin_orbit: bool = Field(
        default=True,
        description="gap with spin-orbit coupling, where an element is heavy or iodine",
    )
    hybrid: bool = Field(default=False, description="HSE06 gap on the PBE density: expensive")
    hull: bool | Literal["auto"] = Field(
        default=False,
        description='distance to the hull of the same DFT; "auto": where hull_reference was '
        "imported when the campaign started",
    )
    hull_reference: str = Field(
        default="mp",
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$",
        description="reference collection of the competing phases",
    )
    hull_margin: float = Field(
        default=0.05,
        ge=0,
        description="phases further than this above the potential's hull are not computed, eV/atom",
    )
    hull_max_phases: int = Field(
        default=12, ge=1, description="no hull where more phases than this must be computed"
    )
    max_core_hours: float = Field(
        default=1.0, gt=0, description="estimated core-hours of one hit's follow-up at most"
    )
    timeout_seconds: float = Field(
        default=1800.0, gt=0, description="wall-clock limit of one attempt at a calculation"
    )

    @model_validator(mode="before")
    @classmethod
    def _read_off(cls, value: Any) -> Any:
        """Let ``follow_up: off``, which YAML reads as false, mean no follow-up."""
        return {} if value is False or value == "off" else value

    @model_validator(mode="after")
    def _check_displacements(self) -> FollowUpSettings:
        if any(amount <= 0 for amount in self.displacements):
            raise ValueError(f"displacements {self.displacements} must be positive (Å)")
        return self

    def potential_record(self) -> dict[str, Any]:
        """Return the settings that decide about the potential's answers, as plain JSON values."""
        return self.model_dump(mode="json", include=set(POTENTIAL_FIELDS))
