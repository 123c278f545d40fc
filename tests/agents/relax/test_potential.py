"""The potential interface: values against CHGNet's own code and finite differences."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
import torch
from ase import units
from pymatgen.core import Lattice, Structure

from agents.relax.chgnet import CHGNetPotential
from agents.relax.potential import UnavailableDevice, UnsupportedElements, load_potential


@pytest.mark.parametrize("version", ["0.3.0", "0.2.0"])
def test_values_equal_those_of_chgnets_own_prediction(crystal, rattle, version):
    from chgnet.model import CHGNet

    with contextlib.redirect_stdout(io.StringIO()):
        model = CHGNet.load(model_name=version, use_device="cpu", verbose=False)
    potential = CHGNetPotential.load(version=version)
    structures = [rattle(crystal(name)) for name in ("NaCl", "SrTiO3", "GaAs")]
    structures.append(Structure(Lattice.cubic(3.6), ["Xe"], [[0, 0, 0]]))  # bonds, no angles
    for structure, result in zip(structures, potential.evaluate(structures)):
        expected = model.predict_structure(structure, task="efs")
        assert result.energy == pytest.approx(float(expected["e"]) * len(structure), abs=1e-4)
        np.testing.assert_allclose(result.forces, expected["f"], atol=1e-3)
        stress = expected["s"] * units.GPa
        np.testing.assert_allclose(result.stress, (stress + stress.T) / 2, atol=1e-4)


def test_forces_and_stress_are_derivatives_of_the_energy(chgnet, crystal, rattle):
    structure = rattle(crystal("SrTiO3"), volume=0.95)
    (result,) = chgnet.evaluate([structure])
    step = 0.01
    for atom, axis in ((1, 0), (3, 2)):
        plus, minus = structure.copy(), structure.copy()
        plus.translate_sites([atom], np.eye(3)[axis] * step, frac_coords=False)
        minus.translate_sites([atom], -np.eye(3)[axis] * step, frac_coords=False)
        numeric = -np.diff(chgnet.energies([minus, plus]))[0] / (2 * step)
        assert result.forces[atom, axis] == pytest.approx(numeric, rel=0.02, abs=0.01)
    for row, column in ((0, 0), (1, 2)):
        strain = np.zeros((3, 3))
        strain[row, column] += 0.5
        strain[column, row] += 0.5
        cells = [structure.lattice.matrix @ (np.eye(3) + s * 0.003 * strain) for s in (-1, 1)]
        strained = [Structure(c, structure.species, structure.frac_coords) for c in cells]
        numeric = np.diff(chgnet.energies(strained))[0] / (0.006 * structure.volume)
        assert result.stress[row, column] == pytest.approx(numeric, rel=0.02, abs=0.0005)


def test_a_crystal_has_the_same_energy_alone_and_in_any_batch(chgnet, crystal, rattle):
    structures = [rattle(crystal(name)) for name in ("NaCl", "Si", "SrTiO3", "LaAlO3", "GaAs")] * 2
    batch = chgnet.evaluate(structures)
    energies = chgnet.energies(structures)
    for structure, result, energy in zip(structures, batch, energies):
        (alone,) = chgnet.evaluate([structure])
        assert result.energy == pytest.approx(alone.energy, abs=1e-4)
        assert energy == pytest.approx(alone.energy, abs=1e-4)
        np.testing.assert_allclose(result.forces, alone.forces, atol=1e-4)
        np.testing.assert_allclose(result.stress, alone.stress, atol=1e-5)


def test_an_isolated_atom_has_no_force(chgnet):
    (result,) = chgnet.evaluate([Structure(Lattice.cubic(14), ["Ar"], [[0, 0, 0]])])
    assert result.finite
    assert result.max_force == 0


def test_elements_outside_the_domain_are_refused_by_name(chgnet, crystal):
    polonium = Structure(Lattice.cubic(3.35), ["Po"], [[0, 0, 0]])
    with pytest.raises(UnsupportedElements, match=r"Po.*crystal 1"):
        chgnet.evaluate([crystal("Si"), polonium])


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown potential 'chgnett'.*chgnet-0\.3\.0"):
        load_potential("chgnett")


def test_a_directory_without_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no saved matgl model: model\.json"):
        load_potential(str(tmp_path))


@pytest.mark.parametrize(
    ("devices", "device", "message"),
    [
        (0, "cuda", "finds no CUDA device here: set relax.device to cpu"),
        (1, "cuda:1", "has 1 CUDA device.*choose cuda:0 to cuda:0, or cpu"),
        (1, "mps", "do not run on the device 'mps': set relax.device to cpu, cuda"),
        (1, "cuda:x", "do not run on the device 'cuda:x'"),
        (0, "gpu", "do not run on the device 'gpu'"),
    ],
)
def test_a_device_that_is_not_there_is_refused_by_name(monkeypatch, devices, device, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    with pytest.raises(UnavailableDevice, match=message):
        load_potential("chgnet", device=device)


def test_matgl_is_refused_on_a_gpu(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name in ("model.json", "model.pt", "state.pt"):
        (tmp_path / name).touch()
    with pytest.raises(UnavailableDevice, match="run on the CPU only, not on 'cuda'"):
        load_potential(str(tmp_path), device="cuda")


def test_a_corrupt_matgl_model_is_refused(tmp_path):
    for name in ("model.json", "model.pt", "state.pt"):
        (tmp_path / name).write_text('{"@module": "matgl.apps.pes", "@class": "Potential"}')
    with pytest.raises(ValueError, match="cannot be read by matgl"):
        load_potential(str(tmp_path))


def test_loading_and_evaluating_print_nothing_and_keep_the_thread_count(capfd, crystal):
    before = torch.get_num_threads()
    potential = CHGNetPotential.load()
    potential.evaluate([crystal("Si")])
    assert capfd.readouterr() == ("", "")
    assert torch.get_num_threads() == before
    assert potential.level == "chgnet-0.3.0"


def test_other_weights_are_refused(monkeypatch):
    monkeypatch.setattr("agents.relax.chgnet.WEIGHTS_SHA256", {"0.3.0": "0" * 64})
    with pytest.raises(ValueError, match="expected 0000"):
        CHGNetPotential.load()


def test_a_potential_is_loaded_once_per_process(chgnet):
    assert load_potential("chgnet") is chgnet
