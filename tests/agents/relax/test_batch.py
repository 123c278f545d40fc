"""Batched relaxation: equal to ASE step by step, equal to one by one, and never lost together."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from ase import units
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE
from pymatgen.core import Lattice, Structure

from agents.relax import fire, trust_region
from agents.relax.batch import relax, relax_many, relaxations
from agents.relax.calculator import atoms_from_structure
from agents.relax.cell_coordinates import CellCoordinates
from agents.relax.potential import UnsupportedElements
from agents.relax.relaxation import Stop
from agents.relax.settings import RelaxSettings
from tests.agents.relax.emt import EMTPotential, alloys

FIRE_SETTINGS = RelaxSettings(optimizer="fire")


@pytest.mark.parametrize("pressure", [0.0, 5.0])
def test_fire_takes_the_steps_that_ase_takes(pressure):
    structure = alloys(1)[0]
    potential = EMTPotential()
    atoms = atoms_from_structure(structure)
    atoms.calc = EMT()
    reference = FIRE(FrechetCellFilter(atoms, scalar_pressure=pressure * units.GPa), logfile=None)
    crystal = CellCoordinates(
        structure.lattice.matrix, atoms.numbers, pressure * units.GPa, relax_cell=True
    )
    state = fire.init(crystal, structure.cart_coords)
    for _ in range(40):
        reference.step()
        cell, positions = crystal.geometry(state.coordinates)
        moved = Structure(Lattice(cell), structure.species, positions, coords_are_cartesian=True)
        (result,) = potential.evaluate([moved])
        gradient = crystal.gradient(state.coordinates, result.forces, result.stress)
        state = fire.step(state, result.energy, gradient)
        cell, positions = crystal.geometry(state.coordinates)
        np.testing.assert_allclose(cell, atoms.cell.array, atol=1e-7)
        np.testing.assert_allclose(positions, atoms.positions, atol=1e-7)


def test_every_alloy_ends_where_ase_ends():
    structures = alloys(12)
    settings = RelaxSettings(optimizer="fire", fmax=0.005, stress_max=0.02, max_steps=400)
    for structure, relaxation in zip(structures, relax_many(structures, EMTPotential(), settings)):
        atoms = atoms_from_structure(structure)
        atoms.calc = EMT()
        assert FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=0.003, steps=600)
        assert relaxation.stop is Stop.CONVERGED
        assert relaxation.energy / 4 == pytest.approx(atoms.get_potential_energy() / 4, abs=0.001)
        assert relaxation.structure.volume == pytest.approx(atoms.get_volume(), rel=0.005)


def test_the_trust_region_ends_no_higher_than_fire_after_far_fewer_calls():
    structures = alloys(16, seed=5, amount=0.2)
    quick = relax_many(structures, EMTPotential(), RelaxSettings())
    slow = relax_many(structures, EMTPotential(), RelaxSettings(optimizer="fire", max_steps=500))
    assert all(r.converged for r in (*quick, *slow))
    above = np.array([q.energy - s.energy for q, s in zip(quick, slow)]) / 4
    assert above.max() < 0.005
    assert sum(q.force_calls for q in quick) < 0.5 * sum(s.force_calls for s in slow)


def test_the_gradient_is_the_derivative_of_the_enthalpy():
    structure = alloys(1)[0]
    potential = EMTPotential()
    numbers = np.array([site.specie.Z for site in structure])
    crystal = CellCoordinates(structure.lattice.matrix, numbers, 0.05, relax_cell=True)
    generator = np.random.default_rng(0)
    where = crystal.start(structure.cart_coords) + generator.normal(0, 0.1, 21)

    def ask(coordinates):
        cell, positions = crystal.geometry(coordinates)
        moved = Structure(Lattice(cell), structure.species, positions, coords_are_cartesian=True)
        (result,) = potential.evaluate([moved])
        return crystal.enthalpy(result.energy, cell), result

    gradient = crystal.gradient(where, ask(where)[1].forces, ask(where)[1].stress)
    for index in range(21):
        step = 1e-4 * np.eye(21)[index]
        numeric = (ask(where + step)[0] - ask(where - step)[0]) / 2e-4
        assert gradient[index] == pytest.approx(numeric, abs=2e-4)


@pytest.mark.parametrize("optimizer", ["fire", "trust_region"])
def test_a_batch_relaxes_each_crystal_as_it_is_relaxed_alone(optimizer):
    structures = alloys(5)
    settings = RelaxSettings(optimizer=optimizer, max_steps=30, volume_scan=True)
    for structure, together in zip(structures, relax_many(structures, EMTPotential(), settings)):
        alone = relax(structure, EMTPotential(), settings)
        assert (together.steps, together.stop, together.force_calls) == (
            alone.steps,
            alone.stop,
            alone.force_calls,
        )
        assert together.energy == pytest.approx(alone.energy, abs=1e-9)
        np.testing.assert_allclose(
            together.structure.lattice.matrix, alone.structure.lattice.matrix, atol=1e-9
        )


def test_finished_crystals_leave_and_new_ones_enter():
    potential = EMTPotential()
    found = dict(relaxations(alloys(9), potential, RelaxSettings(), in_flight=4))
    assert sorted(found) == list(range(9))
    assert max(potential.batches) == 4
    steps = sum(r.force_calls for r in found.values())
    assert sum(potential.batches) == steps
    # in rounds of four until the queue is empty: far fewer than four times its longest crystal
    assert potential.batches.index(3) >= len(potential.batches) // 3


def test_every_call_of_the_potential_is_counted():
    potential = EMTPotential()
    (relaxation,) = relax_many(alloys(1), potential, RelaxSettings(volume_scan=True))
    assert relaxation.force_calls == sum(potential.batches)
    assert relaxation.force_calls == relaxation.steps + 2 + 5


def test_a_crystal_the_potential_lacks_fails_alone_and_by_name():
    structures = alloys(3)
    structures.insert(1, Structure(Lattice.cubic(4), ["Si"], [[0, 0, 0]]))
    found = dict(relaxations(structures, EMTPotential(), RelaxSettings()))
    assert isinstance(found[1], UnsupportedElements)
    assert "Si" in str(found[1])
    assert [found[i].stop for i in (0, 2, 3)] == [Stop.CONVERGED] * 3
    with pytest.raises(UnsupportedElements, match="Si"):
        relax_many(structures, EMTPotential(), RelaxSettings())


def test_progress_is_reported_until_all_are_finished():
    told: list[int] = []
    relax_many(alloys(3), EMTPotential(), RelaxSettings(max_steps=5), progress=told.append)
    assert told == [1, 2, 3]


def test_an_uphill_step_is_taken_back_and_a_shorter_one_tried():
    crystal = CellCoordinates(4.0 * np.eye(3), np.array([29]), 0.0, relax_cell=True)
    state = trust_region.init(crystal, np.zeros((1, 3)))
    gradient = np.zeros(12)
    gradient[3] = 1.0
    state = trust_region.step(state, 0.0, gradient)
    start = state.accepted.copy()
    first = np.linalg.norm(state.coordinates - start)
    assert first > 0
    state = trust_region.step(state, 5.0, -20 * gradient)
    np.testing.assert_array_equal(state.accepted, start)
    assert 0 < np.linalg.norm(state.coordinates - start) < 0.6 * first
    state = trust_region.step(state, -0.1, 0.1 * gradient)
    assert not np.array_equal(state.accepted, start)


def test_a_trial_that_is_no_crystal_is_shortened_before_it_is_given_up():
    crystal = CellCoordinates(4.0 * np.eye(3), np.array([29]), 0.0, relax_cell=True)
    state = trust_region.init(crystal, np.zeros((1, 3)))
    assert trust_region.shorten(state) is None  # the crystal given is itself none
    state = trust_region.step(state, 0.0, np.arange(12.0))
    lengths = [np.linalg.norm(state.coordinates - state.accepted)]
    while (shorter := trust_region.shorten(state)) is not None:
        state = shorter
        lengths.append(np.linalg.norm(state.coordinates - state.accepted))
    assert len(lengths) >= 3
    assert all(b < a for a, b in pairwise(lengths))
