"""Our graphs against those of the package, bond by bond and angle by angle."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from alignn.torch_graph_builder import TorchGraph, build_pure_torch_graph
from jarvis.core.atoms import Atoms
from pymatgen.core import Lattice, Structure

from agents.screen.alignn_graph import batch_graphs, build_graph
from agents.screen.megnet_golden import golden_crystals


def random_crystal(atoms: int, seed: int) -> Structure:
    """A triclinic cell without symmetry, about 12 Å^3 an atom."""
    random = np.random.default_rng(seed)
    cell = np.eye(3) * (12 * atoms) ** (1 / 3) + random.normal(scale=0.4, size=(3, 3))
    symbols = random.choice(["Na", "Ti", "O", "Cs"], size=atoms).tolist()
    return Structure(Lattice(cell), symbols, random.random((atoms, 3)))


CRYSTALS = {**golden_crystals(), **{f"random{n}": random_crystal(n, n) for n in (1, 2, 7, 13)}}


def package_graph(structure: Structure, cutoff: float, angle: float) -> tuple[TorchGraph, ...]:
    atoms = Atoms(
        lattice_mat=structure.lattice.matrix,
        coords=structure.frac_coords,
        elements=[site.specie.symbol for site in structure],
        cartesian=False,
    )
    cell = torch.tensor(structure.lattice.matrix)
    return build_pure_torch_graph(
        atoms,
        two_body_cutoff=cutoff,
        three_body_cutoff=angle,
        positions=torch.tensor(structure.frac_coords) @ cell,
        lattice=cell,
    )


def bonds(first: torch.Tensor, second: torch.Tensor, vectors: torch.Tensor) -> list[tuple]:
    rounded = (
        (vectors.double() * 997.13).round().long()
    )  # an odd unit: few coordinates end on a half
    return [
        (i, j, *v)
        for i, j, v in zip(first.tolist(), second.tolist(), rounded.tolist(), strict=True)
    ]


@pytest.mark.parametrize("name", CRYSTALS)
@pytest.mark.parametrize(("cutoff", "angle"), [(4.05, 3.03), (5.01, 5.01)])
def test_same_bonds_and_angles_as_the_package(name: str, cutoff: float, angle: float) -> None:
    graph, line = package_graph(CRYSTALS[name], cutoff, angle)
    expected = bonds(graph.src, graph.dst, graph.edata["r"])
    batch = batch_graphs([build_graph(CRYSTALS[name], cutoff)], angle)
    found = bonds(batch.first, batch.second, batch.vectors)
    assert len(expected) > 0
    assert Counter(found) == Counter(expected)
    pairs = [(expected[a], expected[b]) for a, b in zip(line.src.tolist(), line.dst.tolist())]
    ours = zip(batch.incoming.tolist(), batch.outgoing.tolist())
    assert Counter((found[a], found[b]) for a, b in ours) == Counter(pairs)


def test_counts_of_a_simple_cubic_lattice() -> None:
    """Six bonds of 3 Å; at the shared atom each of six meets each of six, itself included."""
    polonium = Structure(Lattice.cubic(3.0), ["Po"], [[0.2, 0.3, 0.4]])
    graph = build_graph(polonium, 3.5)
    assert len(graph.first) == 6
    assert graph.angles(3.2) == 36
    assert graph.angles(2.9) == 0
    batch = batch_graphs([graph], 3.2)
    ends = batch.vectors[batch.incoming] * batch.vectors[batch.outgoing]
    cosines = -ends.sum(dim=1) / 9
    assert Counter(cosines.round().int().tolist()) == {0: 24, 1: 6, -1: 6}


def test_a_batch_is_its_crystals_side_by_side() -> None:
    crystals = list(CRYSTALS.values())
    graphs = [build_graph(crystal, 4.05) for crystal in crystals]
    batch = batch_graphs(graphs, 3.03)
    assert batch.atoms.tolist() == [len(crystal) for crystal in crystals]
    assert batch.atomic_numbers.tolist() == [z for c in crystals for z in c.atomic_numbers]
    assert torch.equal(batch.crystal[batch.first], batch.crystal[batch.second])
    assert torch.equal(batch.second[batch.incoming], batch.first[batch.outgoing])
    crystal_of_angle = batch.crystal[batch.first[batch.outgoing]]
    counts = torch.bincount(crystal_of_angle, minlength=len(crystals))
    assert counts.tolist() == [graph.angles(3.03) for graph in graphs]


def test_isolated_atoms_are_found() -> None:
    pair = Structure(Lattice.cubic(20), ["H", "H", "He"], [[0, 0, 0], [0.04, 0, 0], [0.5] * 3])
    assert build_graph(pair, 4.0).isolated == [2]
