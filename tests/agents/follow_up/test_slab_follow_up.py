"""Follow-up of slabs: repeated, rattled, sampled and drawn in their plane only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.calculators.emt import EMT
from ase.phonons import Phonons as ASEPhonons
from pymatgen.core import Lattice, Structure

from agents.follow_up.minimum import check_minimum, rattled
from agents.follow_up.phonons import compute_phonons
from agents.follow_up.settings import FollowUpSettings
from agents.follow_up.stability import stability
from agents.follow_up.supercell import choose_supercell, labels
from agents.relax.batch import relax
from agents.relax.calculator import atoms_from_structure
from agents.relax.settings import RelaxSettings
from agents.slab import MATCHING_VACUUM, vacuum, with_vacuum
from agents.verify.properties.band_path import high_symmetry_path
from agents.verify.setup.symmetry import symmetrise
from tests.agents.relax.emt import EMTPotential

SLABS = RelaxSettings(in_plane=True)
QUICK = FollowUpSettings(displacements=(0.02,), supercell_length=8.0, supercell_atoms=32, mesh=4)


def film() -> Structure:
    """Two hexagonal layers, of gold on copper."""
    lattice = Lattice.hexagonal(2.75, 18.0)
    return Structure(lattice, ["Cu", "Au"], [[0, 0, 0.44], [1 / 3, 2 / 3, 0.56]])


def relaxed() -> Structure:
    tight = SLABS.model_copy(update={"fmax": 0.002, "stress_max": 0.01, "max_steps": 400})
    found = relax(film(), EMTPotential(), tight)
    assert found.converged
    return symmetrise(found.structure, 0.01, 0.05, MATCHING_VACUUM).structure


def test_supercells_are_not_repeated_through_the_vacuum() -> None:
    thin = Structure(Lattice.hexagonal(2.5, 4.0), ["C"], [[0, 0, 0.5]])
    assert choose_supercell(thin, 9.0, 160)[2] > 1
    flat = choose_supercell(thin, 9.0, 160, flat=True)
    assert flat[2] == 1
    assert min(flat[:2]) >= 4


def test_frequencies_of_a_film_are_ases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cell = relaxed()
    repeats, (found,) = compute_phonons(cell, EMTPotential(), QUICK, flat=True)
    assert repeats == (4, 4, 1)
    assert {mode.label for mode in found.points} >= {"G", "M"}
    assert all(mode.q[2] == 0 for mode in found.points)
    assert found.interpolated.q[2] == 0
    atoms = atoms_from_structure(cell)
    phonons = ASEPhonons(atoms, EMT(), supercell=repeats, delta=0.02, name="ase")
    phonons.run()
    phonons.read(acoustic=True)
    zone_edge = [mode for mode in found.points if mode.label != "G"]
    expected = phonons.band_structure([mode.q for mode in zone_edge])
    terahertz = expected / units.invcm * 1e-10 * units._c
    for mode, frequencies in zip(zone_edge, terahertz, strict=True):
        assert mode.frequency == pytest.approx(frequencies.real.min(), abs=0.03)


def test_special_points_and_paths_are_those_of_the_plane() -> None:
    cell = Structure(Lattice.hexagonal(3.2, 15.0), ["C"], [[0, 0, 0.5]])
    points = [np.array([1 / 3, 1 / 3, 0.0]), np.array([0.5, 0.0, 0.0]), np.array([0, 0, 0.5])]
    assert labels(cell, points, flat=True) == ["K", "M", None]
    path = high_symmetry_path(cell, 5.0, flat=True)
    assert path.path == "GMKG"
    assert np.abs(path.points[:, 2]).max() == 0
    oblique = Structure(Lattice.from_parameters(3.0, 4.0, 15.0, 90, 90, 101), ["C"], [[0, 0, 0.5]])
    assert np.abs(high_symmetry_path(oblique, 5.0, flat=True).points[:, 2]).max() == 0
    assert np.abs(high_symmetry_path(cell, 5.0).points[:, 2]).max() == pytest.approx(0.5)


def test_a_slab_is_rattled_in_its_plane_and_comes_back() -> None:
    pushed = rattled(film(), 0.03, seed=3, in_plane=True)
    np.testing.assert_allclose(pushed.lattice.matrix[2], film().lattice.matrix[2], atol=1e-12)
    assert np.abs(pushed.lattice.matrix[:2] - film().lattice.matrix[:2]).max() > 0.005
    assert np.abs(pushed.cart_coords[:, 2] - film().cart_coords[:, 2]).max() > 1e-3
    found = check_minimum(film(), EMTPotential(), SLABS, QUICK, seed=3)
    assert found.is_minimum
    assert vacuum(found.after.structure) == pytest.approx(MATCHING_VACUUM, abs=1e-9)


@pytest.mark.parametrize("gap", [12.0, 40.0])
def test_how_far_a_layer_moved_does_not_depend_on_its_vacuum(gap: float) -> None:
    found = check_minimum(with_vacuum(relaxed(), gap), EMTPotential(), SLABS, QUICK, seed=3)
    assert found.moved == pytest.approx(0.0, abs=0.005)


def test_the_record_says_that_it_was_a_slab() -> None:
    record = stability(film(), EMTPotential(), SLABS, QUICK, seed=1)
    assert record["phonons"]["dimensionality"] == 2
    assert record["phonons"]["supercell"][2] == 1
    assert record["phonons"]["verdict"] in ("stable", "unstable", "undecided")
