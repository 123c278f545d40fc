"""Named sets of DFT settings; together with code and version they make a level of theory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

FIRST_MOMENTS: dict[str, float] = {
    "V": 3.0,
    "Cr": 5.0,
    "Mn": 5.0,
    "Fe": 5.0,
    "Co": 3.0,
    "Ni": 2.0,
}
"""Initial moments (μB) of records that do not say; the presets take the Materials Project's."""

ADDED_FIELDS = (
    "default_moment",
    "hubbard_anions",
    "relax_cutoff",
    "relax_force",
    "relax_stress",
    "relax_steps",
)
"""Fields younger than the first records: left out of a record, and of its hash, at the default."""


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
        default_factory=lambda: dict(FIRST_MOMENTS),
        description="elements treated spin-polarised, ferromagnetic, with initial moments, μB",
    )
    default_moment: float = Field(
        default=0.0, description="initial moment of other elements in such a cell, μB"
    )
    hubbard_u: dict[str, float] = Field(
        default_factory=dict, description="effective U of the d shell (Dudarev) per element, eV"
    )
    hubbard_anions: tuple[str, ...] = Field(
        default=(),
        description="U is used where the most electronegative element is one of these; "
        "empty: in every crystal",
    )
    setups: str = Field(default="paw", description="kind of PAW data set")
    data_sets: str = Field(default="", description="name and version of the PAW data sets")
    molecule_vacuum: float = Field(
        default=3.5, gt=0, description="vacuum on each side of a molecule, Å"
    )
    relax_cutoff: float = Field(
        default=700.0, gt=0, description="plane-wave cut-off of relaxations, eV"
    )
    relax_force: float = Field(default=0.03, gt=0, description="relaxed: largest force, eV/Å")
    relax_stress: float = Field(
        default=0.003, gt=0, description="relaxed: largest component of the stress, eV/Å^3"
    )
    relax_steps: int = Field(default=40, ge=1, description="steps of a relaxation at most")

    def k_densities(self, elements: int) -> tuple[float, float]:
        """Return the densities of the self-consistent mesh and of the one that confirms the gap.

        Args:
            elements: Number of distinct elements in the crystal.
        """
        if elements > 1:
            return self.k_density, self.gap_k_density
        return self.element_k_density, self.element_k_density * self.gap_k_density / self.k_density

    def record(self) -> dict[str, Any]:
        """Return plain JSON values, as hashed and stored.

        Younger fields are left out at their default, so that a level keeps its name.
        """
        record = self.model_dump(mode="json")
        for name in ADDED_FIELDS:
            if getattr(self, name) == type(self).model_fields[name].get_default():
                del record[name]
        return record

    def hubbard_of(self, elements: Iterable[str]) -> dict[str, float]:
        """Return the U that a crystal of these elements is computed with, eV."""
        from pymatgen.core import Element

        present = set(elements)
        found = {element: u for element, u in self.hubbard_u.items() if element in present and u}
        if not found or not self.hubbard_anions:
            return found
        anion = max(present, key=lambda element: float(Element(element).X))
        return found if anion in self.hubbard_anions else {}


CONVERGENCE: dict[str, dict[str, float]] = {
    "fast": {
        "cutoff": 400.0,
        "k_density": 3.5,
        "gap_k_density": 5.0,
        "symprec": 0.05,
        "energy_tolerance": 1e-4,
        "density_tolerance": 1e-3,
        "eigenstates_tolerance": 1e-6,
    },
    "standard": {
        "cutoff": 600.0,
        "k_density": 3.5,
        "gap_k_density": 6.0,
        "symprec": 0.01,
        "energy_tolerance": 1e-5,
        "density_tolerance": 1e-4,
        "eigenstates_tolerance": 4e-8,
    },
}
"""What the presets differ in; spin and +U are the Materials Project's in all of them."""


def preset(name: str) -> DFTSettings:
    """Look a preset up.

    Raises:
        ValueError: There is none of that name.
    """
    from agents.verify.setup import materials_project

    if name not in CONVERGENCE:
        raise ValueError(f"no DFT preset named {name!r}: choose one of {', '.join(CONVERGENCE)}")
    return DFTSettings.model_validate(
        {
            "preset": name,
            **CONVERGENCE[name],
            "magnetic_moments": materials_project.magnetic_moments(),
            "default_moment": materials_project.DEFAULT_MOMENT,
            "hubbard_u": materials_project.hubbard_u(),
            "hubbard_anions": materials_project.hubbard_anions(),
        }
    )
