"""Frequencies are those of the springs, of ASE, and of crystals known to be unstable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.phonons import Phonons as ASEPhonons
from pymatgen.core import Lattice, Structure

from agents.follow_up.phonons import Mode, Phonons, Stability, agreed, compute_phonons
from agents.follow_up.settings import FollowUpSettings
from agents.relax.batch import relax
from agents.relax.calculator import structure_from_atoms
from agents.relax.potential import Potential
from agents.relax.settings import RelaxSettings
from agents.verify.setup.symmetry import symmetrise
from tests.agents.follow_up.conftest import EDGE, SPRING, perovskite, primitive
from tests.agents.relax.emt import EMTPotential

SILICON = primitive("Fd-3m", 5.469, ["Si"], [[0, 0, 0]])
SALT = primitive("Fm-3m", 5.692, ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
TERAHERTZ = 1e-12 * np.sqrt(units._e / units._amu) * 1e10 / (2 * np.pi)  # of sqrt(eV/Å^2/amu)


def test_springs_have_their_analytic_frequencies(
    springs: Potential, small: FollowUpSettings
) -> None:
    crystal = Structure(Lattice.cubic(EDGE), ["Al"], [[0, 0, 0]])
    repeats, (found,) = compute_phonons(crystal, springs, small)
    assert repeats == (2, 2, 2)
    assert {mode.label for mode in found.points} == {"X", "M", "R"}  # Γ has translations only
    for mode in found.points:
        squared = 2 * SPRING * (1 - np.cos(2 * np.pi * np.array(mode.q))).sum() / 26.9815
        assert mode.frequency == pytest.approx(np.sqrt(squared) * TERAHERTZ, rel=1e-4)
    assert found.lowest.label == "X"
    assert found.acoustic_noise == pytest.approx(0, abs=1e-3)
    assert found.stability(0.1) is Stability.STABLE


def ases_frequencies(
    structure: Structure, repeats: tuple[int, int, int], q: list[tuple[float, float, float]]
) -> np.ndarray:
    """Return ASE's frequencies with EMT, shape (Q, modes), THz."""
    from agents.relax.calculator import atoms_from_structure

    atoms = atoms_from_structure(structure)
    phonons = ASEPhonons(atoms, EMT(), supercell=repeats, delta=0.02, name="ase")
    phonons.run()
    phonons.read(acoustic=True)
    return phonons.band_structure(q) / units.invcm * 1e-10 * units._c


def test_frequencies_are_ases(
    emt: EMTPotential,
    small: FollowUpSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    alloy = Structure(Lattice.tetragonal(2.75, 3.75), ["Cu", "Au"], [[0, 0, 0], [0.5] * 3])
    repeats, (found,) = compute_phonons(alloy, emt, small)
    assert repeats == (4, 4, 2)
    assert len(found.points) > 5
    expected = ases_frequencies(alloy, repeats, [mode.q for mode in found.points])
    for mode, frequencies in zip(found.points, expected):
        lowest = frequencies[3:].min() if mode.label == "G" else frequencies.min()
        assert mode.frequency == pytest.approx(lowest, abs=0.01), mode
    assert found.highest_frequency == pytest.approx(expected.max(), abs=0.01)


def test_a_metal_in_the_wrong_lattice_is_unstable_for_ase_and_for_us(
    emt: EMTPotential,
    small: FollowUpSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    body = structure_from_atoms(bulk("Cu", "bcc", a=2.87))
    repeats, (found,) = compute_phonons(body, emt, small)
    assert found.stability(0.1) is Stability.UNSTABLE
    (expected,) = ases_frequencies(body, repeats, [found.lowest.q])
    assert found.lowest.frequency == pytest.approx(expected.min(), abs=0.02)
    assert expected.min() < -0.5
    _, (face,) = compute_phonons(structure_from_atoms(bulk("Cu", "fcc", a=3.59)), emt, small)
    assert face.stability(0.1) is Stability.STABLE


def test_each_size_of_displacement_is_asked_in_batches(
    emt: EMTPotential, small: FollowUpSettings
) -> None:
    both = small.model_copy(update={"displacements": (0.02, 0.04)})
    _, found = compute_phonons(structure_from_atoms(bulk("Cu", a=3.59)), emt, both)
    assert [one.displacement for one in found] == [0.02, 0.04]
    assert emt.batches == [one.n_displacements for one in found]


def phonons_of(exact: float, interpolated: float) -> Phonons:
    mode = Mode((0.5, 0.0, 0.0), "X", exact)
    return Phonons(0.02, 2, (mode,), Mode((0.1, 0.0, 0.0), None, interpolated), 5.0, 0.0)


def test_the_verdict_needs_exact_points_and_every_displacement() -> None:
    stable, unstable = phonons_of(1.0, 0.0), phonons_of(-0.2, -0.3)
    assert unstable.stability(0.1) is Stability.UNSTABLE
    assert unstable.stability(0.25) is Stability.UNDECIDED
    assert phonons_of(1.0, -0.5).stability(0.1) is Stability.UNDECIDED
    assert agreed([stable, stable], 0.1) is Stability.STABLE
    assert agreed([stable, unstable], 0.1) is Stability.UNDECIDED


@pytest.mark.parametrize(
    ("structure", "verdict", "label"),
    [
        pytest.param(SILICON, "stable", None, id="Si"),
        pytest.param(SALT, "stable", None, id="NaCl", marks=pytest.mark.long),
        # tilts below 105 K, ferroelectric below 393 K
        pytest.param(perovskite("Sr", "Ti", 3.945), "unstable", "R", id="SrTiO3"),
        pytest.param(
            perovskite("Ba", "Ti", 4.03), "unstable", "G", id="BaTiO3", marks=pytest.mark.long
        ),
    ],
)
def test_chgnet_knows_which_crystals_distort(
    chgnet: Potential, structure: Structure, verdict: str, label: str | None
) -> None:
    settings = FollowUpSettings(supercell_length=6.0, supercell_atoms=40, mesh=2)
    tight = RelaxSettings(fmax=0.005, stress_max=0.02)
    relaxed = symmetrise(relax(structure, chgnet, tight).structure, 0.01, 0.05).structure
    _, found = compute_phonons(relaxed, chgnet, settings)
    assert agreed(found, settings.imaginary_tolerance) == verdict
    if label is not None:
        assert {one.lowest.label for one in found} == {label}
