"""The property head: masked labels, targets, bytes, uncertainty."""

from __future__ import annotations

import pytest
import torch

from model.property.head import CorruptHead, PropertyHead
from model.property.head_training import fit_head, new_head, property_metrics
from model.settings import HeadConfig

A, B, C = (
    "formation_energy_per_atom@a",
    "formation_energy_per_atom@b",
    "formation_energy_per_atom@pbe",
)
CONFIG = HeadConfig(width=32, members=3, epochs=60, batch_size=64, dropout=0.0)


@pytest.fixture(scope="module")
def features() -> torch.Tensor:
    return torch.randn(600, 6, generator=torch.Generator().manual_seed(0)) * 3 + 1


@pytest.fixture(scope="module")
def labels(features: torch.Tensor) -> dict[str, torch.Tensor]:
    noise = torch.randn(600, generator=torch.Generator().manual_seed(1))
    first = torch.tanh(features[:, 0] / 3) * 5 - 20 + 0.2 * noise
    second = features[:, 1] * 0.1
    second[::3] = torch.nan
    return {A: first, B: second}


@pytest.fixture(scope="module")
def head(features: torch.Tensor, labels: dict[str, torch.Tensor]) -> PropertyHead:
    rows = {name: values[:450] for name, values in labels.items()}
    fresh = new_head(features[:450], rows, CONFIG, seed=0)
    return fit_head(fresh, features[:450], rows, CONFIG, seed=0)


def test_it_learns_both_targets_in_their_units(
    head: PropertyHead, features: torch.Tensor, labels: dict[str, torch.Tensor]
) -> None:
    held = {name: values[450:] for name, values in labels.items()}
    metrics = property_metrics(head, features[450:], held)
    assert metrics[A]["r2"] > 0.9
    assert metrics[B]["r2"] > 0.9
    assert metrics[B]["n"] == int((~held[B].isnan()).sum())
    mean, std = head.predict(features[450:])[A]
    expected = 1 - ((mean - held[A]) ** 2).sum() / ((held[A] - held[A].mean()) ** 2).sum()
    assert metrics[A]["r2"] == pytest.approx(expected.item(), abs=1e-6)
    # The noise of the labels is 0.2: an honest uncertainty is not far below it.
    assert 0.1 < std.median() < 0.6
    assert 0.45 < metrics[A]["coverage_68"] < 0.9
    assert metrics[A]["coverage_95"] > 0.85


def test_missing_labels_count_for_nothing(
    features: torch.Tensor, labels: dict[str, torch.Tensor]
) -> None:
    fresh = new_head(features, labels, CONFIG, seed=0)
    short = HeadConfig(width=32, members=3, epochs=1, batch_size=1000, weight_decay=0.0, dropout=0)
    trained = fit_head(fresh, features, {A: labels[A]}, short, seed=0)
    # No label of B was given: its output row stays; the shared layers and row A moved.
    assert torch.equal(trained.out_weight[1], fresh.out_weight[1])
    assert torch.equal(trained.out_bias[1], fresh.out_bias[1])
    assert not torch.equal(trained.out_weight[0], fresh.out_weight[0])
    # What stands under a NaN cannot matter: only the other rows of B train it.
    spoilt = labels[B].clone()
    assert spoilt.isnan().any()
    result = fit_head(fresh, features, {A: labels[A], B: spoilt}, short, seed=0)
    assert all(torch.isfinite(p).all() for p in result.parameters())


def test_means_of_a_hidden_layer_are_those_predicted(
    head: PropertyHead, features: torch.Tensor
) -> None:
    predicted = head.predict(features)
    means = head.means(head.hidden(features))
    assert list(means) == list(predicted)
    for name, (mean, _) in predicted.items():
        assert torch.equal(means[name], mean)


def test_a_new_target_leaves_the_others_exactly(head: PropertyHead, features: torch.Tensor) -> None:
    for source in (None, A):
        wider = head.with_target(C, copy_from=source)
        assert wider.targets == [A, B, C]
        before, after = head.predict(features), wider.predict(features)
        for name in (A, B):
            assert torch.equal(before[name][0], after[name][0])
            assert torch.equal(before[name][1], after[name][1])
        if source is None:
            assert after[C][0].abs().max() == 0
        else:
            assert torch.equal(after[C][0], before[A][0])
            assert torch.equal(after[C][1], before[A][1])
    assert head.targets == [A, B]


def test_bytes_round_trip_and_version(head: PropertyHead, features: torch.Tensor) -> None:
    again = PropertyHead.from_bytes(head.to_bytes())
    assert again.version == head.version
    assert again.targets == head.targets
    for name, (mean, std) in head.predict(features).items():
        assert torch.equal(again.predict(features)[name][0], mean)
        assert torch.equal(again.predict(features)[name][1], std)
    assert head.with_target(C).version != head.version


def test_fit_leaves_the_given_head_and_is_seeded(
    head: PropertyHead, features: torch.Tensor, labels: dict[str, torch.Tensor]
) -> None:
    short = HeadConfig(width=32, members=3, epochs=2, dropout=0.1)
    version = head.version
    first, second, other = (
        fit_head(head, features, labels, short, seed=seed).version for seed in (3, 3, 4)
    )
    assert head.version == version
    assert first == second != version
    assert other != first


def test_row_weights_decide_what_is_learned(features: torch.Tensor) -> None:
    rows = {A: torch.cat([torch.ones(300), torch.full((300,), 3.0)])}
    weights = torch.cat([torch.ones(300), torch.zeros(300)])
    fresh = new_head(features, rows, CONFIG, seed=0)
    same = torch.zeros_like(features)
    trained = fit_head(fresh, same, rows, CONFIG, seed=0, row_weights=weights)
    assert trained.predict(same)[A][0].mean().item() == pytest.approx(1.0, abs=0.05)


def test_damage_and_wrong_names_are_refused(head: PropertyHead, features: torch.Tensor) -> None:
    payload = head.to_bytes()
    with pytest.raises(CorruptHead):
        PropertyHead.from_bytes(payload[:-10])
    with pytest.raises(CorruptHead):
        PropertyHead.from_bytes(b"not a head")
    broken = head.clone()
    with torch.no_grad():
        broken.bias_1[0, 0, 0] = torch.nan
    with pytest.raises(CorruptHead, match="not finite"):
        PropertyHead.from_bytes(broken.to_bytes())
    with pytest.raises(ValueError, match="property@level"):
        head.with_target("band_gap")
    with pytest.raises(ValueError, match="already"):
        head.with_target(A)
    with pytest.raises(ValueError, match="cannot copy"):
        head.with_target(C, copy_from="x@y")
    with pytest.raises(ValueError, match="no output"):
        fit_head(head, features, {C: features[:, 0]}, CONFIG, seed=0)
    with pytest.raises(ValueError, match="takes"):
        head.predict(features[:, :3])


def test_what_is_proven_and_calibrated_travels_with_the_weights(
    head: PropertyHead, features: torch.Tensor, labels: dict[str, torch.Tensor]
) -> None:
    assert head.uncalibrated == head.proven == []  # fitted on hundreds of rows, judged nowhere
    wider = head.with_proven([A]).with_target(C, copy_from=A)
    again = PropertyHead.from_bytes(wider.to_bytes())
    assert (again.proven, again.uncalibrated) == ([A], [C])
    assert again.with_proven([B]).proven == [A, B]
    assert (head.proven, head.with_proven([A]).version != head.version) == ([], True)
    few = {C: torch.full((len(features),), torch.nan)}
    few[C][:19] = 1.0  # below the minimum even if all of them calibrated
    assert fit_head(wider, features, few, CONFIG, seed=0).uncalibrated == [C]
    many = {C: features[:, 0]}
    assert fit_head(wider, features, many, CONFIG, seed=0).uncalibrated == []
    with pytest.raises(ValueError, match="no output"):
        head.with_proven([C])
