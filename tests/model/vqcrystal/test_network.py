"""The network: symmetry, padding, exact codes, learning, what its losses reach."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from model.data.canonical import CanonicalCrystal, Crystal, canonical
from model.data.tensors import CrystalTensors
from model.networks.indices import CodeIndices
from model.vqcrystal.decoder import torus_squared_error
from model.vqcrystal.network import VQCrystalNetwork


def _same(first: list, second: list) -> None:
    for (numbers, frac, cell), other in zip(first, second, strict=True):
        np.testing.assert_array_equal(numbers, other[0])
        difference = frac - other[1]
        np.testing.assert_allclose(difference - difference.round(), 0, atol=1e-5)
        np.testing.assert_allclose(cell, other[2], rtol=1e-5)


def _labels(tensors: CrystalTensors) -> Tensor:
    labels = torch.randn(len(tensors), 2, generator=torch.Generator().manual_seed(0))
    labels[::3, 1] = torch.nan
    return labels


@torch.no_grad()
def test_codes_have_the_shape_the_search_expects(
    network: VQCrystalNetwork, tensors: CrystalTensors
) -> None:
    codes = network.encode_to_codes(tensors).to_codes()
    for item, n in zip(codes, tensors.n_atoms.tolist(), strict=True):
        assert item.species == ()
        assert len(item.global_genes) == len(network.gene_sizes(0)) == 4
        assert [len(atom) for atom in item.local] == [len(network.local_sizes)] * n
    genes = [15, 0, 3, 7]
    moved = codes[0].with_global_genes(genes)
    assert moved.local == codes[0].local
    assert moved.crystal == tuple(genes)
    with pytest.raises(ValueError, match="species"):
        network.gene_sizes(1)


@torch.no_grad()
def test_stored_integers_decode_to_the_same_crystal(
    network: VQCrystalNetwork, tensors: CrystalTensors
) -> None:
    indices = network.encode_to_codes(tensors)
    stored = CodeIndices.from_codes(indices.to_codes(), max_species=0)
    assert stored.species.shape == (40, 0, 0)
    decoded = network.decode_to_arrays(indices)
    _same(network.decode_to_arrays(stored), decoded)
    alone = CodeIndices.from_codes(indices.to_codes()[3:4], max_species=0)
    _same(network.decode_to_arrays(alone), decoded[3:4])
    assert all((numbers > 0).all() for numbers, _, _ in decoded)
    assert all((frac >= 0).all() and (frac < 1).all() for _, frac, _ in decoded)
    features = network.property_features(stored)
    torch.testing.assert_close(network.property_features(alone), features[3:4])
    assert features[3].ne(features[4]).any()


@torch.no_grad()
def test_atoms_in_another_order_give_the_same_codes_in_that_order(
    network: VQCrystalNetwork, crystals: list[Crystal]
) -> None:
    rng = np.random.default_rng(0)
    ordered = [canonical(c) for c in crystals]
    orders = [rng.permutation(len(c.numbers)) for c in ordered]
    shuffled = [
        CanonicalCrystal(numbers=c.numbers[o], frac=c.frac[o], cell=c.cell, ranks=c.ranks[o])
        for c, o in zip(ordered, orders)
    ]
    before, after = (
        network.encode_to_codes(CrystalTensors.from_canonical(each)) for each in (ordered, shuffled)
    )
    assert torch.equal(before.crystal, after.crystal)
    for first, second, order in zip(before.to_codes(), after.to_codes(), orders):
        assert second.local == tuple(first.local[i] for i in order)
    decoded = network.decode_to_arrays(before)
    reordered = [(n[o], f[o], cell) for (n, f, cell), o in zip(decoded, orders)]
    _same(network.decode_to_arrays(after), reordered)


@torch.no_grad()
def test_padding_changes_no_code(network: VQCrystalNetwork, tensors: CrystalTensors) -> None:
    padded = network.encode_to_codes(tensors).to_codes()
    for row in range(len(tensors)):
        own = tensors.select(torch.tensor([row]))
        assert own.numbers.shape[1] == tensors.n_atoms[row]
        assert network.encode_to_codes(own).to_codes() == [padded[row]]
    noise = torch.rand_like(tensors.frac) * ~tensors.mask[..., None]
    dirty = replace(
        tensors,
        frac=tensors.frac + noise,
        numbers=tensors.numbers + 14 * ~tensors.mask,
    )
    assert network.encode_to_codes(dirty).to_codes() == padded


def test_gradients_reach_every_parameter(
    network: VQCrystalNetwork, tensors: CrystalTensors
) -> None:
    losses = network.train().losses(tensors, _labels(tensors))
    torch.stack(list(losses.values())).sum().backward()
    untouched = [
        name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()
    ]
    assert untouched == []
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_the_count_is_read_from_the_codes_without_shaping_them(
    network: VQCrystalNetwork, tensors: CrystalTensors
) -> None:
    network.train().losses(tensors, _labels(tensors))["count"].backward()
    reached = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None}
    assert reached == {"count"}
    # With the encoder's codes fixed the count follows the global code and nothing else.
    network.eval()
    found = network.count_atoms(tensors)
    assert found.shape == (40,)
    assert ((found >= 1) & (found <= 8)).all()
    vectors = network.crystal.lookup(network.encode_to_codes(tensors).crystal)
    assert torch.equal(found, network.count(vectors)[:, 1:].argmax(-1) + 1)


def test_training_lowers_the_losses(network: VQCrystalNetwork, tensors: CrystalTensors) -> None:
    labels = _labels(tensors)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    history: list[dict[str, float]] = []
    for _ in range(40):
        losses = network.train().losses(tensors, labels)
        (sum(losses.values()) + 9 * losses["coordinates"]).backward()
        optimiser.step()
        optimiser.zero_grad()
        history.append({name: loss.item() for name, loss in losses.items()})
    for name in ("species", "coordinates", "lattice", "properties", "count"):
        assert history[-1][name] < 0.9 * history[0][name], name


def test_unquantised_training_leaves_the_codebooks_alone(
    network: VQCrystalNetwork, tensors: CrystalTensors
) -> None:
    books = [q._codebooks()[0].clone() for q in network.quantisers.values()]
    losses = network.train().losses(tensors, torch.zeros(40, 0), discrete=False)
    assert losses["commitment"] == losses["properties"] == 0
    assert all(
        torch.equal(book, q._codebooks()[0]) for book, q in zip(books, network.quantisers.values())
    )


def test_coordinates_are_compared_on_the_torus() -> None:
    rng = np.random.default_rng(0)
    predicted, frac = rng.uniform(-0.5, 0.5, (20, 3)), rng.random((20, 3))
    images = predicted[..., None] - frac[..., None] + np.array([-2, -1, 0, 1, 2])
    expected = (np.abs(images).min(-1) ** 2).mean()
    found = torus_squared_error(torch.tensor(predicted), torch.tensor(frac))
    assert found.item() == pytest.approx(expected)
    near = torus_squared_error(torch.tensor([[0.01, 0.0, 0.0]]), torch.tensor([[0.99, 0.0, 0.0]]))
    assert near.item() == pytest.approx(0.02**2 / 3, rel=1e-4)


def test_a_standardised_lattice_is_restored(
    network: VQCrystalNetwork, tensors: CrystalTensors
) -> None:
    lattice = network._standardised(tensors)
    torch.testing.assert_close(lattice.mean(0), torch.zeros(6), rtol=0, atol=1e-5)
    torch.testing.assert_close(network._restored(lattice, tensors.n_atoms), tensors.cell)
