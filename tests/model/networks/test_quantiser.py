"""The residual quantiser: against a loop, its life in training, its revival of codes."""

from __future__ import annotations

import pytest
import torch

from model.networks.quantiser import CodeQuantiser


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _quantiser(levels: int = 3, codes: int = 16, rotation: bool = True) -> CodeQuantiser:
    return CodeQuantiser(
        8, levels, codes, decay=0.9, dead_code_threshold=0.3, rotation_trick=rotation
    )


def test_codes_are_the_nearest_level_by_level_and_look_up_exactly() -> None:
    quantiser = _quantiser()
    x = torch.randn(300, 8)
    quantiser.initialise(x, typical_batch=300)
    quantiser.eval()
    quantised, indices, _ = quantiser(x)
    residual = x.double()
    for level, layer in enumerate(quantiser.residual.layers):
        book = layer.codebook.double()
        expected = [((row - book) ** 2).sum(-1).argmin().item() for row in residual]
        assert indices[:, level].tolist() == expected
        residual = residual - book[indices[:, level]]
    assert torch.equal(quantised, quantiser.lookup(indices))
    assert residual.norm() < 0.5 * x.norm()


def test_evaluation_moves_nothing_and_training_does() -> None:
    quantiser = _quantiser()
    x = torch.randn(300, 8)
    quantiser.initialise(x, typical_batch=300)
    before = {k: v.clone() for k, v in quantiser.state_dict().items()}
    quantiser.eval()(x + 1)
    assert all(torch.equal(before[k], v) for k, v in quantiser.state_dict().items())
    quantiser.train()(x + 1)
    assert any(not torch.equal(before[k], v) for k, v in quantiser.state_dict().items())


def test_an_unused_code_is_revived_until_revival_stops() -> None:
    for stopped in (False, True):
        quantiser = _quantiser(levels=1)
        x = torch.randn(200, 8)
        quantiser.initialise(x, typical_batch=200)
        book = quantiser.residual.layers[0]._codebook
        book.embed[0, 5] = 1e3
        book.embed_avg[0, 5] = 0
        book.cluster_size[0, 5] = 0.1
        if stopped:
            quantiser.stop_revival()
        quantiser.train()(x)
        revived = bool((x == book.embed[0, 5]).all(-1).any())
        assert revived is not stopped


@pytest.mark.parametrize("rotation", [True, False])
def test_gradients_reach_the_input_through_the_codes(rotation: bool) -> None:
    quantiser = _quantiser(rotation=rotation)
    x = torch.randn(100, 8)
    quantiser.initialise(x, typical_batch=100)
    x.requires_grad_(True)
    quantised, _, commitment = quantiser.train()(x)
    (quantised.pow(2).sum() + commitment).backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert (x.grad.abs().sum(-1) > 0).all()
