"""CSPNet: its edge features against pymatgen and loops, its invariance."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice

from model.data.canonical import Crystal
from model.data.tensors import CrystalTensors
from model.vqcrystal.cspnet import CSPLayer, difference_features, gram_entries

FREQUENCIES = 3


def test_gram_entries_equal_pymatgens(crystals: list[Crystal]) -> None:
    found = gram_entries(torch.tensor(np.stack([c.cell for c in crystals])))
    for row, crystal in zip(found.numpy(), crystals):
        a, b, c = Lattice.from_parameters(*crystal.cell.tolist()).matrix
        np.testing.assert_allclose(row, [a @ a, a @ b, a @ c, b @ b, b @ c, c @ c], atol=1e-9)


def test_difference_features_equal_the_loop() -> None:
    frac = np.random.default_rng(0).random((2, 4, 3))
    found = difference_features(torch.tensor(frac), FREQUENCIES).numpy()
    assert found.shape == (2, 4, 4, 6 * FREQUENCIES)
    for crystal in range(2):
        for i in range(4):
            for j in range(4):
                expected = []
                for axis in range(3):
                    d = frac[crystal, j, axis] - frac[crystal, i, axis]
                    waves = range(1, FREQUENCIES + 1)
                    expected += [math.sin(2 * math.pi * k * d) for k in waves]
                    expected += [math.cos(2 * math.pi * k * d) for k in waves]
                np.testing.assert_allclose(found[crystal, i, j], expected, atol=1e-9)


def _layer() -> CSPLayer:
    torch.manual_seed(0)
    return CSPLayer(8, FREQUENCIES).double()


def test_messages_are_a_perceptron_of_both_atoms_cell_and_difference() -> None:
    layer = _layer()
    h, gram = torch.randn(1, 3, 8).double(), torch.randn(1, 6).double()
    difference = torch.randn(1, 3, 3, 6 * FREQUENCIES).double()
    pairs = torch.ones(1, 3, 3, dtype=torch.bool)
    pairs[0, :, 2] = pairs[0, 2] = False  # the third atom is padding
    parts = (layer.receiver, layer.sender, layer.cell, layer.difference)
    weight = torch.cat([part.weight for part in parts], 1)
    normed = layer.norm(h)
    updated = layer(h, gram, difference, pairs)
    found = layer.messages(normed, gram, difference)
    for i in range(2):
        messages = []
        for j in range(2):
            edge = torch.cat([normed[0, i], normed[0, j], gram[0], difference[0, i, j]])
            messages.append(layer.message(weight @ edge + layer.receiver.bias))
            torch.testing.assert_close(found[0, i, j], messages[-1])
        mean = torch.stack(messages).mean(0)
        expected = h[0, i] + layer.update(torch.cat([normed[0, i], mean]))
        torch.testing.assert_close(updated[0, i], expected)


@pytest.mark.parametrize("whole_cells", [False, True])
def test_translations_change_no_message(tensors: CrystalTensors, whole_cells: bool) -> None:
    layer = _layer()
    random = torch.Generator().manual_seed(0)
    frac = tensors.frac.double()
    if whole_cells:  # every atom on its own
        shift = torch.randint(-2, 3, frac.shape, generator=random).double()
    else:  # the crystal as a whole
        shift = torch.rand(len(frac), 1, 3, generator=random).double()
    h = torch.randn(*frac.shape[:2], 8, generator=random).double()
    gram = gram_entries(tensors.cell.double())
    before, after = (
        layer.messages(h, gram, difference_features(f, FREQUENCIES)) for f in (frac, frac + shift)
    )
    torch.testing.assert_close(after, before, rtol=0, atol=1e-9)
    moved = difference_features(frac * 1.01, FREQUENCIES)  # no translation
    assert (layer.messages(h, gram, moved) - before).abs().max() > 1e-3
