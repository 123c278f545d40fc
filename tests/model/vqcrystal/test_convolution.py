"""The graph branch against pymatgen's distances and a loop over neighbours."""

from __future__ import annotations

import numpy as np
import torch

from model.data.canonical import Crystal, canonical, structure_from_arrays
from model.data.tensors import CrystalTensors
from model.vqcrystal.convolution import GraphBlock, adjacency

CUTOFF = 3.0


def test_neighbours_are_those_of_pymatgen(crystals: list[Crystal], tensors: CrystalTensors) -> None:
    found = adjacency(tensors.distances, tensors.mask, CUTOFF)
    assert 0.1 < found[tensors.mask].float().mean() < 0.9
    for row, crystal in zip(found.numpy(), map(canonical, crystals)):
        structure, _ = structure_from_arrays(crystal.numbers, crystal.frac, crystal.cell)
        assert structure is not None
        expected = np.zeros_like(row)
        for i, neighbours in enumerate(structure.get_all_neighbors(CUTOFF)):
            expected[i, [site.index for site in neighbours]] = True
        np.testing.assert_array_equal(row, expected)


def test_convolution_equals_the_loop_over_neighbours() -> None:
    torch.manual_seed(0)
    block = GraphBlock(8, 2, gaussians=4)
    torch.nn.init.zeros_(block.attention.attention_out.weight)  # leaves the convolution alone
    torch.nn.init.zeros_(block.attention.attention_out.bias)
    torch.nn.init.zeros_(block.attention.feed[2].weight)
    torch.nn.init.zeros_(block.attention.feed[2].bias)
    v, shells = torch.randn(1, 4, 8), torch.rand(1, 4, 4, 4)
    neighbours = torch.tensor([[[0, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]]).bool()
    mask = torch.tensor([[True, True, True, False]])
    updated = block(v, shells, neighbours, mask)
    normed = block.norm(v[0])
    weight = torch.cat([block.receiver.weight, block.sender.weight, block.edge.weight], 1)
    for i in range(3):
        total = torch.zeros(8)
        for j in range(4):
            if neighbours[0, i, j]:
                z = torch.cat([normed[i], normed[j], shells[0, i, j]])
                gate, core = (weight @ z + block.receiver.bias).chunk(2)
                total += 1 / (1 + (-gate).exp()) * (1 + core.exp()).log()
        torch.testing.assert_close(updated[0, i], v[0, i] + block.message_norm(total))


def test_attention_sees_neighbours_only() -> None:
    torch.manual_seed(0)
    block = GraphBlock(8, 2, gaussians=4)
    v, shells = torch.randn(1, 3, 8), torch.rand(1, 3, 3, 4)
    neighbours = torch.tensor([[[0, 1, 0], [1, 0, 0], [0, 0, 0]]]).bool()
    mask = torch.ones(1, 3, dtype=torch.bool)
    before = block(v, shells, neighbours, mask)
    changed = v.clone()
    changed[0, 1] = torch.randn(8)
    after = block(changed, shells, neighbours, mask)
    assert not torch.allclose(after[0, 0], before[0, 0])
    torch.testing.assert_close(after[0, 2], before[0, 2])
    assert torch.isfinite(after).all()  # the third atom has no neighbour at all
