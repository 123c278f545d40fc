"""Rattled minima come back; saddle points do not."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from pymatgen.core import Lattice, Structure

from agents.follow_up.minimum import check_minimum, distance, rattled, seed_of
from agents.follow_up.settings import FollowUpSettings
from agents.relax.calculator import structure_from_atoms
from agents.relax.potential import Potential
from agents.relax.settings import RelaxSettings
from tests.agents.follow_up.conftest import perovskite
from tests.agents.relax.emt import EMTPotential

ALLOY = Structure(Lattice.tetragonal(2.75, 3.75), ["Cu", "Au"], [[0, 0, 0], [0.5] * 3])


def test_every_atom_and_the_cell_move_by_the_amount() -> None:
    pushed = rattled(ALLOY, 0.03, seed=5)
    ends = np.linalg.norm(pushed.lattice.matrix - ALLOY.lattice.matrix, axis=1)
    assert ends.max() == pytest.approx(0.03)
    strain = np.linalg.solve(ALLOY.lattice.matrix, pushed.lattice.matrix) - np.eye(3)
    assert strain == pytest.approx(strain.T)  # no rotation
    affine = ALLOY.frac_coords @ pushed.lattice.matrix
    steps = np.linalg.norm(pushed.cart_coords - affine, axis=1)
    assert steps == pytest.approx([0.03, 0.03])
    assert rattled(ALLOY, 0.03, seed=5) == pushed
    assert rattled(ALLOY, 0.03, seed=6) != pushed
    fixed = rattled(ALLOY, 0.03, seed=5, cell=False)
    assert fixed.lattice == ALLOY.lattice


def test_the_seed_follows_from_the_record() -> None:
    assert seed_of(7, "c-1") == seed_of(7, "c-1")
    assert len({seed_of(7, "c-1"), seed_of(7, "c-2"), seed_of(8, "c-1")}) == 3


def test_distances_are_root_mean_squares_in_angstrom() -> None:
    moved = ALLOY.copy()
    moved.translate_sites([1], [0.06, 0, 0], frac_coords=False)
    found = distance(ALLOY, moved)
    assert found == pytest.approx(0.03, abs=1e-6)  # shared by two atoms after superposition
    assert distance(ALLOY, structure_from_atoms(bulk("Cu", cubic=True))) is None


def test_a_minimum_comes_back(emt: EMTPotential) -> None:
    found = check_minimum(ALLOY, emt, RelaxSettings(), FollowUpSettings(), seed=1)
    assert found.is_minimum is True
    assert found.reason is None
    assert abs(found.energy_change) < 1e-4
    assert found.rms is not None
    assert found.rms < 0.01
    assert found.after.steps > 0
    record = found.record()
    assert record["seed"] == 1
    assert record["before"]["converged"] is True
    assert record["volume_change"] == pytest.approx(0, abs=1e-3)


def test_a_saddle_point_does_not(emt: EMTPotential) -> None:
    body = structure_from_atoms(bulk("Cu", "bcc", a=2.87))  # by symmetry without force
    found = check_minimum(body, emt, RelaxSettings(), FollowUpSettings(), seed=1)
    assert found.before.max_force < 1e-6
    assert found.before.structure.lattice.angles == pytest.approx([109.471] * 3, abs=1e-3)
    assert found.is_minimum is False
    assert found.reason == "energy"
    assert found.energy_change < -0.02  # the face-centred crystal


def test_a_relaxation_without_end_decides_nothing(emt: EMTPotential) -> None:
    hopeless = FollowUpSettings(max_steps=1, fmax=1e-6)
    found = check_minimum(ALLOY, emt, RelaxSettings(), hopeless, seed=1)
    assert (found.is_minimum, found.reason) == (None, "not_converged")


def test_a_ferroelectric_falls_within_the_energy_tolerance_and_is_noticed(
    chgnet: Potential,
) -> None:
    cubic = perovskite("Ba", "Ti", 4.03)
    found = check_minimum(cubic, chgnet, RelaxSettings(), FollowUpSettings(), seed=1)
    assert -0.02 < found.energy_change < -0.005
    assert (found.is_minimum, found.reason) == (False, "structure")
