"""Our forward pass against the package's own, on the same weights."""

from __future__ import annotations

import pytest
import torch
from alignn.torch_graph_builder import TorchGraph, batch_torch_graph_pairs, build_pure_torch_graph
from jarvis.core.atoms import Atoms
from pydantic import ValidationError

from agents.screen.alignn_graph import batch_graphs, build_graph
from agents.screen.alignn_network import ALIGNNNetwork, ALIGNNShape, element_features
from agents.screen.megnet_golden import golden_crystals

SHAPE = ALIGNNShape(cutoff=4.05, angle_cutoff=3.03, hidden=24, embedding=8)


def test_same_numbers_as_the_package_on_the_same_weights() -> None:
    torch.manual_seed(1)
    network = ALIGNNNetwork(SHAPE).eval()
    pairs: list[tuple[TorchGraph, TorchGraph]] = []
    for crystal in golden_crystals().values():
        atoms = Atoms(
            lattice_mat=crystal.lattice.matrix,
            coords=crystal.frac_coords,
            elements=[site.specie.symbol for site in crystal],
            cartesian=False,
        )
        pairs.append(
            build_pure_torch_graph(
                atoms, two_body_cutoff=SHAPE.cutoff, three_body_cutoff=SHAPE.angle_cutoff
            )
        )
    graph, line = batch_torch_graph_pairs(pairs)
    graphs = [build_graph(crystal, SHAPE.cutoff) for crystal in golden_crystals().values()]
    with torch.inference_mode():
        expected = network.core((graph, line, None))["out"]
        found = network.residual(batch_graphs(graphs, SHAPE.angle_cutoff))
    assert found.shape == (5, 2)
    assert expected.std(dim=0).min() > 1e-3
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


def test_linear_part_and_scale_are_added() -> None:
    network = ALIGNNNetwork(SHAPE).eval()
    network.scale.copy_(torch.tensor([0.0, 0.0]))
    network.linear[11] = torch.tensor([-2.0, 3.0])
    network.linear[17] = torch.tensor([1.0, 5.0])
    batch = batch_graphs([build_graph(golden_crystals()["NaCl"], SHAPE.cutoff)], 3.03)
    assert network(batch).tolist() == [[-0.5, 4.0]]
    network.scale.copy_(torch.tensor([2.0, 3.0]))
    expected = torch.tensor([[-0.5, 4.0]]) + torch.tensor([2.0, 3.0]) * network.residual(batch)
    torch.testing.assert_close(network(batch), expected)


def test_every_element_has_features_of_its_own() -> None:
    """92 zeros and ones (CGCNN: group, period, radius and so on), most but not all distinct."""
    table = element_features()[1:]
    assert table.shape == (100, 92)
    assert set(table.unique().tolist()) == {0.0, 1.0}
    assert len(table.unique(dim=0)) > 90


def test_angles_need_bonds() -> None:
    with pytest.raises(ValidationError, match="above cutoff"):
        ALIGNNShape(cutoff=3.0, angle_cutoff=3.5)
