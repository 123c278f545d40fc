"""Neighbours against pymatgen, graphs against the package, and batches that fit a memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from agents.relax import chgnet
from agents.relax.chgnet import CHGNetPotential, messages_at_once
from agents.relax.chgnet_graph import batch_graph, crystal_bonds, pack
from agents.relax.core_repulsion import OVERLAP, repulsion
from agents.relax.neighbours import bonds_within


def skewed(seed: int, n: int = 5) -> Structure:
    generator = np.random.default_rng(seed)
    cell = np.diag([3.0, 4.0, 6.0]) + generator.normal(0, 1.0, (3, 3))
    return Structure(Lattice(cell), ["Si"] * n, generator.uniform(-1.5, 1.5, (n, 3)))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("cutoff", [0.7, 3.0, 6.0])
def test_bonds_are_those_of_pymatgen(seed, cutoff):
    structure = skewed(seed)
    first, second, vectors = bonds_within(structure.lattice.matrix, structure.frac_coords, cutoff)
    lengths = np.linalg.norm(vectors, axis=1)
    ours = sorted(zip(*np.sort([first, second], axis=0), lengths.round(6)))
    i, j, _, distances = structure.get_neighbor_list(cutoff)
    theirs = sorted(zip(*np.sort([i, j], axis=0), distances.round(6)))
    assert len(theirs) == 2 * len(ours)  # both directions there, one here
    np.testing.assert_allclose(np.array(ours).reshape(-1, 3), np.array(theirs).reshape(-1, 3)[::2])


def test_a_needle_is_refused_before_its_images_fill_the_memory():
    with pytest.raises(ValueError, match=r"only 0\.001 Å thick"):
        bonds_within(np.diag([5.0, 0.001, 5.0]), np.zeros((1, 3)), 6.0)


def test_the_graph_has_the_bonds_and_angles_of_the_package(crystal, rattle):
    from chgnet.graph import CrystalGraphConverter

    structures = [rattle(crystal("SrTiO3")), crystal("NaCl"), skewed(3)]
    graph = batch_graph([crystal_bonds(s, 6.0, 3.0) for s in structures])
    converter = CrystalGraphConverter(on_isolated_atoms="ignore")
    theirs = [converter(s) for s in structures]
    assert 2 * len(graph.first) == sum(len(t.atom_graph) for t in theirs)
    assert len(graph.angle_atoms) == sum(len(t.bond_graph) for t in theirs)
    tips = np.concatenate(
        [t.bond_graph[:, 0].numpy() + n for t, n in zip(theirs, (0, 5, 7)) if len(t.bond_graph)]
    )
    np.testing.assert_array_equal(np.sort(graph.angle_atoms), np.sort(tips))


def test_batches_are_cut_at_the_limit_and_lose_nobody(crystal):
    crystals = [crystal_bonds(crystal(n), 6.0, 3.0) for n in ("NaCl", "SrTiO3", "Si", "GaAs")]
    messages = [c.messages for c in crystals]
    for limit in (1, messages[0] + messages[1], sum(messages)):
        batches = list(pack(crystals, limit))
        assert [c for batch in batches for c in batch] == crystals
        assert all(len(b) == 1 or sum(c.messages for c in b) <= limit for b in batches)
    assert len(list(pack(crystals, sum(messages)))) == 1
    assert list(pack([], 10)) == []


def test_a_gpus_batch_grows_with_its_free_memory_and_fits(crystal, rattle):
    half = messages_at_once("cuda:0", lambda _: 70 * 2**30)
    whole = messages_at_once("cuda:0", lambda _: 140 * 2**30)
    assert whole == pytest.approx(2 * half, rel=0.01)
    assert messages_at_once("cpu", lambda _: 0) == chgnet.CPU_MESSAGES
    # what autograd keeps, measured where there is no GPU
    potential = CHGNetPotential.load()
    bonds = [crystal_bonds(rattle(crystal(n)), 6.0, 3.0) for n in ("SrTiO3", "GaAs", "NaCl")]
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        potential._network.derivatives(batch_graph(bonds))
    per_message = sum(kept.values()) / sum(b.messages for b in bonds)
    assert 0.3 * chgnet.BYTES_PER_MESSAGE < per_message < chgnet.BYTES_PER_MESSAGE


def test_more_crystals_are_in_flight_on_a_larger_gpu(crystal, monkeypatch):
    potential = CHGNetPotential.load()
    structures = [crystal("SrTiO3")] * 3
    assert potential.in_flight(structures) == 32
    monkeypatch.setattr(potential, "_device", "cuda:0")
    monkeypatch.setattr(chgnet, "_free_memory", lambda device: 8 * 2**30)
    small = potential.in_flight(structures)
    monkeypatch.setattr(chgnet, "_free_memory", lambda device: 80 * 2**30)
    assert potential.in_flight(structures) == pytest.approx(10 * small, rel=0.01)
    assert small > 100


def test_atoms_that_overlap_are_pushed_apart_and_others_are_not(crystal):
    numbers = np.array([7, 7])
    cell = 6.0 * np.eye(3)
    bond = np.array([[0.0, 0, 0], [1.10, 0, 0]])  # N2: the shortest bond of all but hydrogen's
    assert repulsion(numbers, cell, bond).energy == 0.0
    for name in ("NaCl", "SrTiO3", "GaAs"):
        known = crystal(name)
        z = np.array([site.specie.Z for site in known])
        assert repulsion(z, known.lattice.matrix, known.cart_coords).energy == 0.0
    assert OVERLAP < 1.10 / 1.42
    close = np.array([[0.0, 0, 0], [0.5, 0.2, 0.1]])
    found = repulsion(numbers, cell, close)
    for axis in range(3):
        step = np.zeros((2, 3))
        step[1, axis] = 1e-5
        up = repulsion(numbers, cell, close + step).energy
        down = repulsion(numbers, cell, close - step).energy
        assert found.forces[1, axis] == pytest.approx(-(up - down) / 2e-5, rel=1e-4, abs=1e-6)
    strain = 1e-5 * np.diag([1.0, 0, 0])
    up, down = (
        repulsion(numbers, cell @ (np.eye(3) + s * strain), close @ (np.eye(3) + s * strain)).energy
        for s in (1, -1)
    )
    assert found.stress[0, 0] * 216.0 == pytest.approx((up - down) / 2e-5, rel=1e-4)
