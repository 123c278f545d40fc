"""Relaxation against ASE with CHGNet's own calculator, and its guards."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from ase import units
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE
from pymatgen.io.ase import AseAtomsAdaptor

from agents.relax.batch import relax
from agents.relax.potential import PotentialResult
from agents.relax.relaxation import Stop
from agents.relax.settings import RelaxSettings


@pytest.fixture(scope="module")
def independent():
    """Relax with CHGNet's calculator in ASE, much tighter; return energy per atom and volume."""
    from chgnet.model.dynamics import CHGNetCalculator
    from chgnet.model.model import CHGNet

    with contextlib.redirect_stdout(io.StringIO()):
        model = CHGNet.load(model_name="0.3.0", use_device="cpu", verbose=False)
        calculator = CHGNetCalculator(model, use_device="cpu")

    def run(structure):
        atoms = AseAtomsAdaptor.get_atoms(structure)
        atoms.calc = calculator
        assert FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=0.005, steps=300)
        return atoms.get_potential_energy() / len(atoms), atoms.get_volume()

    return run


@pytest.mark.parametrize(
    ("name", "volume", "settings"),
    [
        ("NaCl", 0.9, {}),
        ("Si", 1.12, {"optimizer": "fire"}),
        ("GaAs", 1.25, {"volume_scan": True}),
    ],
)
def test_strained_crystals_reach_the_minimum_that_ase_finds(
    chgnet, crystal, rattle, independent, name, volume, settings
):
    structure = rattle(crystal(name), 0.05, volume)
    energy, expected_volume = independent(structure)
    relaxation = relax(structure, chgnet, RelaxSettings(**settings))
    assert relaxation.stop is Stop.CONVERGED
    assert relaxation.converged
    assert relaxation.max_force <= 0.03
    assert relaxation.max_stress <= 0.1 * units.GPa
    assert relaxation.energy / len(structure) == pytest.approx(energy, abs=0.001)
    assert relaxation.structure.volume == pytest.approx(expected_volume, rel=0.005)
    assert relaxation.volume_ratio == pytest.approx(
        relaxation.structure.volume / structure.volume, rel=1e-6
    )


def test_numbers_belong_to_the_structure_returned(chgnet, crystal, rattle):
    structure = rattle(crystal("SrTiO3"))
    relaxation = relax(structure, chgnet, RelaxSettings(max_steps=3))
    (result,) = chgnet.evaluate([relaxation.structure])
    assert (relaxation.stop, relaxation.steps, relaxation.converged) == (Stop.MAX_STEPS, 3, False)
    assert relaxation.energy == pytest.approx(result.energy, abs=1e-6)
    assert relaxation.max_force == pytest.approx(result.max_force, abs=1e-6)
    assert relaxation.energy < relaxation.initial_energy
    assert relaxation.initial_energy == pytest.approx(chgnet.energies([structure])[0], abs=1e-5)
    assert structure == rattle(crystal("SrTiO3"))


def test_the_volume_scan_saves_steps_far_from_the_minimum(chgnet, crystal, rattle):
    structure = rattle(crystal("NaCl"), 0.02, 1.25**1)
    plain = relax(structure, chgnet, RelaxSettings())
    scanned = relax(structure, chgnet, RelaxSettings(volume_scan=True))
    assert scanned.converged
    assert scanned.steps < plain.steps
    assert scanned.energy == pytest.approx(plain.energy, abs=0.002)
    assert scanned.initial_energy == plain.initial_energy


def test_pressure_compresses_until_the_stress_balances_it(chgnet, crystal):
    structure = crystal("NaCl")
    relaxation = relax(structure, chgnet, RelaxSettings(pressure=10.0))
    (result,) = chgnet.evaluate([relaxation.structure])
    assert relaxation.converged
    assert -np.trace(result.stress) / 3 / units.GPa == pytest.approx(10.0, abs=0.3)
    assert relaxation.volume_ratio < 0.85


def test_a_fixed_cell_stays(chgnet, crystal, rattle):
    structure = rattle(crystal("Si"), 0.05, 1.1)
    relaxation = relax(structure, chgnet, RelaxSettings(relax_cell=False))
    assert relaxation.converged
    np.testing.assert_allclose(relaxation.structure.lattice.matrix, structure.lattice.matrix)


def _push(stress: float, force: float = 0.0, energy: float = 0.0):
    def answer(structure):
        forces = np.zeros((len(structure), 3))
        forces[0, 0] = force
        return PotentialResult(energy + stress * structure.volume, forces, stress * np.eye(3))

    return answer


@pytest.mark.parametrize(
    ("optimizer", "answer", "stop"),
    [
        ("fire", _push(stress=-0.5), Stop.VOLUME),
        ("fire", _push(stress=0.5), Stop.VOLUME),
        ("fire", _push(stress=0.0, force=200.0), Stop.MIN_DISTANCE),
        ("fire", _push(stress=0.0, force=float("nan")), Stop.NOT_FINITE),
        ("trust_region", _push(stress=-0.5), Stop.VOLUME),
        ("trust_region", _push(stress=0.5), Stop.VOLUME),
        ("trust_region", _push(stress=0.0, force=float("nan")), Stop.NOT_FINITE),
    ],
)
def test_exploding_crystals_are_stopped_with_the_reason(crystal, stand_in, optimizer, answer, stop):
    potential = stand_in(answer)
    relaxation = relax(crystal("NaCl"), potential, RelaxSettings(optimizer=optimizer))
    assert np.isnan(relaxation.energy)
    assert relaxation.stop is stop
    assert relaxation.stop.blown_up
    assert not relaxation.converged
    assert relaxation.steps < 100


def test_the_wall_clock_limit_stops_a_slow_relaxation(crystal, stand_in):
    slow = stand_in(_push(stress=0.0, force=0.1))
    relaxation = relax(crystal("NaCl"), slow, RelaxSettings(seconds_per_structure=1e-6))
    assert relaxation.stop is Stop.TIME
    assert not relaxation.stop.blown_up


def test_an_optimiser_that_says_converged_is_not_believed(crystal, stand_in):
    calls = []

    def lies_at_first(structure):
        calls.append(structure)
        return _push(stress=0.0, force=0.0 if len(calls) < 2 else 0.055)(structure)

    relaxation = relax(crystal("NaCl"), stand_in(lies_at_first), RelaxSettings())
    assert relaxation.stop is Stop.CONVERGED
    assert relaxation.max_force == pytest.approx(0.055)
    assert not relaxation.converged
