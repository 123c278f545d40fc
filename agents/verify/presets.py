"""Named sets of DFT settings; together with code and version they make a level of theory."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

# Initial moments (μB) of the elements that commonly order; high spin, as in the Materials Project.
MAGNETIC_MOMENTS: dict[str, float] = {
    "V": 3.0,
    "Cr": 5.0,
    "Mn": 5.0,
    "Fe": 5.0,
    "Co": 3.0,
    "Ni": 2.0,
}


class DFTSettings(BaseModel):
    """Everything besides the crystal that changes the result of a calculation.

    Units: eV, Å, points per Å^-1 of reciprocal length (2π included), μB.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: str
    xc: str = "PBE"
    cutoff: float = Field(gt=0, description="plane-wave cut-off, eV")
    k_density: float = Field(gt=0, description="k-points per Å^-1, self-consistent mesh")
    gap_k_density: float = Field(gt=0, description="k-points per Å^-1, mesh that confirms the gap")
    element_k_density: float = Field(
        default=4.5,
        gt=0,
        description="k-points per Å^-1 for elements: alkali metals are 20 meV/atom off at 3.5",
    )
    smearing: float = Field(
        default=0.05, gt=0, description="width of the Fermi-Dirac occupations, eV"
    )
    empty_bands: int = Field(default=4, ge=1, description="bands above the occupied ones")
    symprec: float = Field(gt=0, description="tolerance of the symmetrised input cell, Å")
    max_displacement: float = Field(
        default=0.1, gt=0, description="symmetrising moves no atom further than this, Å"
    )
    energy_tolerance: float = Field(gt=0, description="SCF: energy, eV per electron")
    density_tolerance: float = Field(gt=0, description="SCF: density, electrons per electron")
    eigenstates_tolerance: float = Field(gt=0, description="SCF: residual, eV^2 per electron")
    max_iterations: int = Field(default=80, ge=1, description="SCF iterations before the retry")
    magnetic_moments: dict[str, float] = Field(
        default_factory=lambda: dict(MAGNETIC_MOMENTS),
        description="elements treated spin-polarised, ferromagnetic, with initial moments, μB",
    )
    hubbard_u: dict[str, float] = Field(default_factory=dict, description="U per element, eV")
    setups: str = Field(default="paw", description="kind of PAW data set")
    data_sets: str = Field(default="", description="name and version of the PAW data sets")
    molecule_vacuum: float = Field(
        default=3.5, gt=0, description="vacuum on each side of a molecule, Å"
    )

    def k_densities(self, elements: int) -> tuple[float, float]:
        """Return the densities of the self-consistent mesh and of the one that confirms the gap.

        Args:
            elements: Number of distinct elements in the crystal.
        """
        if elements > 1:
            return self.k_density, self.gap_k_density
        return self.element_k_density, self.element_k_density * self.gap_k_density / self.k_density

    def record(self) -> dict[str, Any]:
        """Return plain JSON values, as hashed and stored."""
        return self.model_dump(mode="json")


PRESETS: dict[str, DFTSettings] = {
    "fast": DFTSettings(
        preset="fast",
        cutoff=400.0,
        k_density=3.5,
        gap_k_density=5.0,
        symprec=0.05,
        energy_tolerance=1e-4,
        density_tolerance=1e-3,
        eigenstates_tolerance=1e-6,
    ),
    "standard": DFTSettings(
        preset="standard",
        cutoff=600.0,
        k_density=3.5,
        gap_k_density=6.0,
        symprec=0.01,
        energy_tolerance=1e-5,
        density_tolerance=1e-4,
        eigenstates_tolerance=4e-8,
    ),
}


def preset(name: str) -> DFTSettings:
    """Look a preset up.

    Raises:
        ValueError: There is none of that name.
    """
    if name not in PRESETS:
        raise ValueError(f"no DFT preset named {name!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
