"""The shared residual quantiser: one codebook, sampled in training, exact in evaluation."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load, save

from model.vqcrystal.quantiser import SharedQuantiser


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _quantiser(
    *, levels: int = 3, codes: int = 12, shared: bool = True, temperature: float = 0.5
) -> SharedQuantiser:
    return SharedQuantiser(
        4,
        levels,
        codes,
        decay=0.9,
        dead_code_threshold=0.0,
        shared=shared,
        temperature=temperature,
        settle=True,
    )


def test_all_depths_share_one_codebook_that_training_moves() -> None:
    quantiser = _quantiser()
    x = torch.randn(400, 4)
    quantiser.initialise(x, typical_batch=100)
    first = quantiser.residual.layers[0].codebook.clone()
    quantiser.train()(x + 1)
    books = [layer.codebook for layer in quantiser.residual.layers]
    assert not torch.equal(books[0], first)
    assert len({book.data_ptr() for book in books}) == 1
    # The same index means the same vector at every depth.
    index = torch.tensor([[5, 5, 5]])
    torch.testing.assert_close(quantiser.lookup(index)[0], 3 * books[0][5])
    assert len(quantiser.perplexity()) == 1


def test_without_sharing_every_depth_has_its_own() -> None:
    quantiser = _quantiser(shared=False)
    quantiser.initialise(torch.randn(400, 4), typical_batch=100)
    books = [layer.codebook for layer in quantiser.residual.layers]
    assert len({book.data_ptr() for book in books}) == 3
    assert len(quantiser.perplexity()) == 3


def test_a_file_keeps_the_shared_codebook_once_and_restores_all_depths() -> None:
    quantiser = _quantiser()
    x = torch.randn(400, 4)
    quantiser.initialise(x, typical_batch=100)
    stored = save(quantiser.state_dict())
    assert sum(name.endswith("embed") for name in load(stored)) == 1
    other = _quantiser()
    other.load_state_dict(load(stored), strict=True)
    assert torch.equal(other.eval().nearest(x), quantiser.eval().nearest(x))
    assert len({layer.codebook.data_ptr() for layer in other.residual.layers}) == 1
    del (incomplete := load(stored))["residual.layers.0._codebook.embed"]
    with pytest.raises(RuntimeError, match="embed"):
        other.load_state_dict(incomplete, strict=True)


def test_evaluation_takes_the_nearest_code_of_each_residual_and_looks_up_exactly() -> None:
    quantiser = _quantiser().eval()
    x = torch.randn(200, 4)
    quantiser.initialise(x, typical_batch=100)
    before = {name: value.clone() for name, value in quantiser.state_dict().items()}
    quantised, indices, _ = quantiser(x)
    assert torch.equal(quantiser(x)[1], indices)
    assert torch.equal(quantised, quantiser.lookup(indices))
    book = quantiser.residual.layers[0].codebook
    residual = x.clone()
    for level in range(3):
        expected = [((row - book) ** 2).sum(-1).argmin().item() for row in residual]
        assert indices[:, level].tolist() == expected
        residual -= book[indices[:, level]]
    assert all(torch.equal(before[k], v) for k, v in quantiser.state_dict().items())


def test_placing_beats_a_random_choice_of_vectors_at_every_depth() -> None:
    quantiser = _quantiser(levels=4, codes=32).eval()
    x = torch.randn(2000, 4)
    quantiser.initialise(x, typical_batch=100)
    placed = (x - quantiser(x)[0]).pow(2).mean().item()
    by_depth = [
        (x - quantiser._codebooks()[0][quantiser.nearest(x)[:, :depth]].sum(1)).pow(2).mean().item()
        for depth in range(1, 5)
    ]
    assert by_depth == sorted(by_depth, reverse=True)
    quantiser.residual.layers[0]._codebook.embed.copy_(x[None, :32])
    chosen = (x - quantiser(x)[0]).pow(2).mean().item()
    assert placed < 0.3 * chosen


def test_training_samples_codes_by_distance_and_temperature_until_it_settles() -> None:
    temperature = 0.5
    quantiser = _quantiser(levels=1, codes=4, temperature=temperature)
    quantiser.initialise(torch.randn(400, 4), typical_batch=100)
    codebook = quantiser.residual.layers[0]._codebook
    x = torch.randn(1, 4)
    expected = (-(x - codebook.embed[0]).norm(dim=-1) / temperature).softmax(-1)
    codebook.decay = 1.0  # holds the codebook still
    indices = quantiser.train()(x.repeat(20000, 1))[1][:, 0]
    found = torch.bincount(indices, minlength=4) / 20000
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)
    assert found.max() < 0.95
    quantiser.stop_revival()
    assert quantiser(x.repeat(2000, 1))[1].unique().tolist() == [int(expected.argmax())]


def test_the_gradient_passes_once_whatever_the_depth() -> None:
    quantiser = _quantiser(levels=3)
    quantiser.initialise(torch.randn(400, 4), typical_batch=100)
    x = torch.randn(50, 4, requires_grad=True)
    quantiser.train()(x)[0].sum().backward()
    torch.testing.assert_close(x.grad, torch.ones_like(x))
