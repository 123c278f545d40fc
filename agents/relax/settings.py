"""Settings of the relaxation agent."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agents.slab import MATCHING_VACUUM


class RelaxSettings(BaseModel):
    """How decoded crystals are evaluated, relaxed and accepted.

    Units: eV, Å, eV/Å, GPa, seconds. The acceptance rule and its numbers are those of VQCrystal
    (doi 10.1038/s41524-025-01613-6, Methods) except where a field says otherwise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    potential: str = Field(
        default="auto", description='"auto" (CHGNet), a potential\'s name, or a directory'
    )
    device: str = Field(default="cpu", description="torch device of the potential")

    # Relaxation
    optimizer: Literal["trust_region", "fire"] = Field(
        default="trust_region", description="damped BFGS within a trust region, or FIRE"
    )
    max_steps: int = Field(default=100, ge=0, description="optimiser steps at most")
    fmax: float = Field(
        default=0.03, gt=0, description="stop below this force, eV/Å (the paper: 0.04)"
    )
    stress_max: float = Field(
        default=0.1,
        gt=0,
        description="stop only when every stress component is off by less than this, GPa; of a "
        "slab, those in its plane, per volume of the layer",
    )
    pressure: float = Field(default=0.0, description="external pressure, GPa")
    relax_cell: bool = Field(default=True, description="relax the cell, too, not only the atoms")
    in_plane: bool = Field(
        default=False,
        description="crystals are slabs with their vacuum along c: their cell relaxes in the plane "
        "only; a campaign file says so once, by its dimensionality",
    )
    volume_scan: bool = Field(
        default=False, description="start from the best of a few scaled volumes"
    )
    volume_scan_scales: tuple[float, ...] = Field(
        default=(0.8, 0.9, 1.0, 1.12, 1.25), description="volume factors tried by the scan"
    )
    seconds_per_structure: float = Field(
        default=120.0, gt=0, description="wall-clock limit of one crystal"
    )

    # Acceptance after relaxation
    accept_max_force: float = Field(
        default=0.05, gt=0, description="largest force on an atom, eV/Å"
    )
    accept_max_stress: float = Field(
        default=1.0,
        gt=0,
        description="largest component of stress plus pressure where the cell is relaxed, GPa",
    )
    formation_energy_max: float = Field(default=0.0, description="for compounds, eV/atom")
    elemental_max_above_reference: float = Field(
        default=0.5,
        ge=0,
        description="for one-element crystals: above the reference phase, eV/atom",
    )

    # Guards against broken decodes and exploited potentials
    formation_energy_min: float = Field(
        default=-5.0, lt=0, description="below this the potential is exploited, not obeyed, eV/atom"
    )
    min_distance: float = Field(
        default=0.5, gt=0, description="shortest interatomic distance allowed, Å"
    )
    volume_per_atom_min: float = Field(default=2.0, gt=0, description="Å^3")
    volume_per_atom_max: float = Field(default=100.0, gt=0, description="Å^3")
    volume_ratio_min: float = Field(
        default=0.3, gt=0, le=1, description="relaxed over decoded volume"
    )
    volume_ratio_max: float = Field(default=3.0, ge=1, description="relaxed over decoded volume")

    second_potential: str | None = Field(
        default=None,
        description="another potential that must agree on what was relaxed; None: not asked",
    )
    second_potential_max_difference: float = Field(
        default=0.2, gt=0, description="largest difference of the formation energies, eV/atom"
    )

    # Work sharing
    evaluate_batch: int = Field(
        default=64, ge=1, description="crystals leased and evaluated at once"
    )
    relax_batch: int = Field(
        default=16, ge=1, description="crystals leased at once and relaxed together"
    )
    lease_seconds: int = Field(
        default=300, ge=1, description="how long a lease lasts without renewal"
    )
    max_per_generation: int | None = Field(
        default=None,
        ge=1,
        description="relax only so many of a generation, lowest formation energy first",
    )
    max_unrelaxed_formation_energy: float | None = Field(
        default=None,
        description="do not relax crystals above this decoded formation energy, eV/atom",
    )

    @model_validator(mode="after")
    def _check_ranges(self) -> RelaxSettings:
        if self.volume_per_atom_min >= self.volume_per_atom_max:
            raise ValueError(
                f"volume_per_atom_min {self.volume_per_atom_min} must be below "
                f"volume_per_atom_max {self.volume_per_atom_max} (Å^3)"
            )
        if self.formation_energy_min >= self.formation_energy_max:
            raise ValueError(
                f"formation_energy_min {self.formation_energy_min} must be below "
                f"formation_energy_max {self.formation_energy_max} (eV/atom)"
            )
        if self.fmax > self.accept_max_force:
            raise ValueError(
                f"fmax {self.fmax} must not exceed accept_max_force {self.accept_max_force} "
                "(eV/Å): otherwise the optimiser stops before the crystal can be accepted"
            )
        if self.stress_max > self.accept_max_stress:
            raise ValueError(
                f"stress_max {self.stress_max} must not exceed accept_max_stress "
                f"{self.accept_max_stress} (GPa): otherwise the optimiser stops before the crystal "
                "can be accepted"
            )
        if self.second_potential is not None and self.second_potential == self.potential_name:
            raise ValueError(
                f"second_potential {self.second_potential} must be another potential than the one "
                "that relaxes"
            )
        if self.in_plane and self.pressure != 0:
            raise ValueError(
                f"in_plane relaxes slabs, and pressure is {self.pressure:g} GPa: a vacuum under "
                "pressure is none, set pressure to 0"
            )
        if not self.volume_scan_scales or any(s <= 0 for s in self.volume_scan_scales):
            raise ValueError(f"volume_scan_scales {self.volume_scan_scales} must be positive")
        return self

    @property
    def potential_name(self) -> str:
        """The potential that "auto" stands for, or the one named."""
        return "chgnet" if self.potential == "auto" else self.potential

    def of_bulk(self) -> RelaxSettings:
        """Return the settings for the bulk crystals that slabs are compared with."""
        return self.model_copy(update={"in_plane": False})

    def relaxation_record(self) -> dict[str, Any]:
        """Return the settings that decide the outcome of a relaxation, as plain JSON values."""
        record = self.model_dump(
            mode="json",
            include={
                "optimizer",
                "max_steps",
                "fmax",
                "stress_max",
                "pressure",
                "relax_cell",
                "volume_scan",
                "volume_scan_scales",
            },
        )
        return record | ({"in_plane": True, "vacuum": MATCHING_VACUUM} if self.in_plane else {})
