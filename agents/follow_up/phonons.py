"""Phonons of a potential by finite displacements: is the crystal dynamically stable?

Displacements, force constants and dynamical matrices are phonopy's (doi 10.1088/1361-648X/acd831);
the forces are the potential's, all supercells in batches. Frequencies in THz; an imaginary one is
given as a negative number, as usual. At q-points that fit into the supercell they are exact for the
potential, elsewhere interpolated. The splitting of longitudinal and transverse optical modes by the
macroscopic field is left out: it raises frequencies only, and a potential without charges knows
none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from agents.follow_up.supercell import choose_supercell, commensurate, irreducible, labels

if TYPE_CHECKING:
    from phonopy import Phonopy
    from pymatgen.core import Structure

    from agents.follow_up.settings import FollowUpSettings
    from agents.relax.potential import Potential

SYMPREC = 1e-3  # Å; the crystal was symmetrised before


class Stability(StrEnum):
    """What the frequencies say."""

    STABLE = "stable"
    UNSTABLE = "unstable"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Mode:
    """The lowest mode at one q-point.

    Attributes:
        q: In units of the primitive reciprocal vectors.
        label: Name of the special point, "X"; None where it has none.
        frequency: THz; negative: imaginary.
    """

    q: tuple[float, float, float]
    label: str | None
    frequency: float

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"q": list(self.q), "label": self.label, "frequency": self.frequency}


@dataclass(frozen=True)
class Phonons:
    """The phonons of a crystal, from displacements of one size.

    Attributes:
        displacement: Å.
        n_displacements: Supercells that were evaluated.
        points: The lowest mode at each q-point that is exact: Γ, the zone boundary and whatever
            else fits into the supercell; points that symmetry makes equal once, Γ first and without
            its three translations.
        interpolated: The lowest mode of the denser mesh.
        highest_frequency: Of all exact modes, THz.
        acoustic_noise: Largest |frequency| of the three modes at Γ that are most like translations,
            THz, before translational invariance is imposed: what is left of it is the noise of the
            forces, divided by the displacement.
    """

    displacement: float
    n_displacements: int
    points: tuple[Mode, ...]
    interpolated: Mode
    highest_frequency: float
    acoustic_noise: float

    @property
    def lowest(self) -> Mode:
        """The lowest of the exact modes."""
        return min(self.points, key=lambda mode: mode.frequency)

    def stability(self, tolerance: float) -> Stability:
        """Judge the frequencies.

        Args:
            tolerance: A frequency below minus this is imaginary, THz.

        Returns:
            ``unstable`` by an exact frequency; ``undecided`` where only an interpolated one is
            imaginary, for that may be the supercell's fault.
        """
        if self.lowest.frequency < -tolerance:
            return Stability.UNSTABLE
        if self.interpolated.frequency < -tolerance:
            return Stability.UNDECIDED
        return Stability.STABLE

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "displacement": self.displacement,
            "n_displacements": self.n_displacements,
            "lowest": self.lowest.record(),
            "points": [mode.record() for mode in self.points],
            "interpolated": self.interpolated.record(),
            "highest_frequency": self.highest_frequency,
            "acoustic_noise": self.acoustic_noise,
        }


def agreed(found: Sequence[Phonons], tolerance: float) -> Stability:
    """Return the verdict on which displacements of all sizes agree, else ``undecided``.

    A potential need not be smooth on the scale of a displacement: CHGNet's energy has a cone where
    three atoms are in line, so that small displacements see another curvature than large ones.
    """
    verdicts = {phonons.stability(tolerance) for phonons in found}
    return verdicts.pop() if len(verdicts) == 1 else Stability.UNDECIDED


def compute_phonons(
    structure: Structure, potential: Potential, settings: FollowUpSettings, *, flat: bool = False
) -> tuple[tuple[int, int, int], list[Phonons]]:
    """Compute the phonons of a crystal, once for every size of displacement.

    Args:
        structure: A relaxed, symmetrised primitive cell; left unchanged.
        potential: Gives the forces.
        settings: Supercell, displacements and mesh.
        flat: The crystal is a slab with its vacuum along c: repeated and sampled in its plane only.

    Returns:
        Repetitions of the cell in the supercell, and the phonons for each displacement.

    Raises:
        SupercellTooLarge: The cell has too many atoms.
        UnsupportedElements: The potential does not know an element.
        RuntimeError: The potential failed on the crystal.
    """
    repeats = choose_supercell(
        structure, settings.supercell_length, settings.supercell_atoms, flat=flat
    )
    mesh = (settings.mesh, settings.mesh, 1 if flat else settings.mesh)
    found = [
        _phonons(structure, potential, repeats, displacement, mesh, flat)
        for displacement in settings.displacements
    ]
    return repeats, found


def _phonons(
    structure: Structure,
    potential: Potential,
    repeats: tuple[int, int, int],
    displacement: float,
    mesh: tuple[int, int, int],
    flat: bool,
) -> Phonons:
    calculation = _prepare(structure, repeats)
    # Both directions always: what is left of the forces without a displacement cancels.
    calculation.generate_displacements(distance=displacement, is_plusminus=True)
    calculation.forces = _forces(calculation, potential)
    calculation.produce_force_constants(show_drift=False)
    noise = _acoustic_noise(calculation)
    calculation.symmetrize_force_constants(show_drift=False, use_symfc_projector=True)
    gamma, *others = irreducible(structure, commensurate(repeats))
    optical = _optical(calculation)
    found = [(gamma, optical), *((q, _frequencies(calculation, q)) for q in others)]
    found = [(q, frequencies) for q, frequencies in found if len(frequencies)]
    calculation.run_mesh(mesh, is_gamma_center=True)
    dense = calculation.get_mesh_dict()
    where = int(np.argmin(dense["frequencies"].min(axis=1)))
    names = labels(structure, [q for q, _ in found], flat=flat)
    return Phonons(
        displacement=displacement,
        n_displacements=len(calculation.supercells_with_displacements),
        points=tuple(
            Mode(_triple(point), label, float(modes.min()))
            for label, (point, modes) in zip(names, found)
        ),
        interpolated=Mode(
            _triple(dense["qpoints"][where]), None, float(dense["frequencies"][where].min())
        ),
        highest_frequency=float(max(modes.max() for _, modes in found)),
        acoustic_noise=noise,
    )


def _prepare(structure: Structure, repeats: tuple[int, int, int]) -> Phonopy:
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    cell = PhonopyAtoms(
        symbols=[site.specie.symbol for site in structure],
        cell=structure.lattice.matrix,
        scaled_positions=structure.frac_coords,
    )
    return Phonopy(cell, supercell_matrix=repeats, primitive_matrix="P", symprec=SYMPREC)


def _forces(calculation: Phonopy, potential: Potential) -> NDArray[np.float64]:
    """Return the forces on the atoms of every displaced supercell, shape (D, N, 3), eV/Å."""
    from pymatgen.core import Structure

    supercells = [
        Structure(one.cell, one.symbols, one.scaled_positions)
        for one in calculation.supercells_with_displacements
    ]
    at_once = potential.in_flight(supercells)
    results = [
        result
        for start in range(0, len(supercells), at_once)
        for result in potential.evaluate(supercells[start : start + at_once])
    ]
    if not all(result.finite for result in results):
        raise ArithmeticError("the potential gives forces that are no numbers")
    return np.array([result.forces for result in results])


def _frequencies(calculation: Phonopy, q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the frequencies at one q-point, THz."""
    return np.asarray(calculation.run_qpoints([q]).frequencies)[0]


def _optical(calculation: Phonopy) -> NDArray[np.float64]:
    """Return the frequencies at Γ without those of the three translations, THz."""
    frequencies, order = _by_likeness(calculation)
    return frequencies[order[:-3]]


def _acoustic_noise(calculation: Phonopy) -> float:
    frequencies, order = _by_likeness(calculation)
    return float(np.abs(frequencies[order[-3:]]).max())


def _by_likeness(calculation: Phonopy) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the frequencies at Γ, and the order in which modes are ever more like translations."""
    found = calculation.run_qpoints([[0.0, 0.0, 0.0]], with_eigenvectors=True)
    vectors = np.asarray(found.eigenvectors)[0]  # columns
    weights = np.sqrt(calculation.primitive.masses)
    weights = weights / np.linalg.norm(weights)
    translations = np.kron(weights, np.eye(3))  # (3, 3N), orthonormal
    likeness = (np.abs(translations @ vectors) ** 2).sum(axis=0)
    return np.asarray(found.frequencies)[0], np.argsort(likeness)


def _triple(point: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (round(float(value), 6) for value in point)
    return x, y, z
