"""Settings of the distance to the hull."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class HullSettings(BaseModel):
    """Which phases candidates are compared with, and what that may cost.

    Args:
        reference: Reference collection that the competing phases come from ("mp"); "auto": mp if
            it was imported when the campaign started; None: no hulls.
        margin: Phases further than this above the single-point hull are not relaxed (eV/atom). It
            must exceed what relaxing gains any phase that matters; see docs/hull.md.
        max_phases: A chemical system with more phases than this has no hull; never half of one.
        max_atoms: Phases with more atoms in the cell are left out, and the record says how many:
            the hull is then too high, and a crystal looks more stable than it is. None: all.
        max_steps: Optimiser steps at most for one phase.
        seconds_per_phase: Wall-clock limit of the relaxation of one phase.
        energy_above_hull_max: Reject candidates further above the hull than this (eV/atom); None:
            only record it. A candidate whose hull is refused is never rejected by it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    reference: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    margin: float = Field(default=0.1, ge=0.0)
    max_phases: int = Field(default=1000, ge=1)
    max_atoms: int | None = Field(default=None, ge=1)
    max_steps: int = Field(default=500, ge=1)
    seconds_per_phase: float = Field(default=600.0, gt=0)
    energy_above_hull_max: float | None = None

    def rules(self) -> dict[str, Any]:
        """Return the settings that decide about a hull, as plain JSON."""
        return self.model_dump(
            mode="json", include={"reference", "margin", "max_phases", "max_atoms"}
        )
