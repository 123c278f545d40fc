"""Uncertainty of a fitted head: noise of each row, honest coverage, rows kept out for ever."""

from __future__ import annotations

import math

import pytest
import torch

from model.property.calibration import coverage_table
from model.property.head import PropertyHead
from model.property.head_training import fit_head, new_head, property_metrics
from model.settings import HeadConfig

ENERGY, GAP = "formation_energy_per_atom@a", "band_gap@a"
CONFIG = HeadConfig(width=32, members=3, epochs=12, batch_size=256, calibration_fraction=0.2)
N_TRAIN = 3000


@pytest.fixture(scope="module")
def features() -> torch.Tensor:
    return torch.randn(6000, 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def labels(features: torch.Tensor) -> dict[str, torch.Tensor]:
    """An energy that is noisy where the second feature is positive; a gap that is often zero."""
    noise = torch.randn(len(features), generator=torch.Generator().manual_seed(1))
    size = torch.where(features[:, 1] > 0, 0.5, 0.05)
    gap = (2 * features[:, 2] + 0.5 * noise.roll(1)).clamp(min=0)
    return {ENERGY: features[:, 0] + size * noise, GAP: gap}


@pytest.fixture(scope="module")
def head(features: torch.Tensor, labels: dict[str, torch.Tensor]) -> PropertyHead:
    rows = {name: values[:N_TRAIN] for name, values in labels.items()}
    fresh = new_head(features[:N_TRAIN], rows, CONFIG, seed=0)
    return fit_head(fresh, features[:N_TRAIN], rows, CONFIG, seed=0)


def test_intervals_cover_what_they_promise(
    head: PropertyHead, features: torch.Tensor, labels: dict[str, torch.Tensor]
) -> None:
    held = {name: values[N_TRAIN:] for name, values in labels.items()}
    table = coverage_table(head, features[N_TRAIN:], held, (0.5, 0.8, 0.95))
    for name in (ENERGY, GAP):
        for promised, row in table[name].items():
            assert row["covered"] == pytest.approx(promised, abs=0.05)
        widths = [row["width"] for row in table[name].values()]
        assert widths == sorted(widths)
    low, high = head.intervals(features[N_TRAIN:], (0.8,))[GAP][0.8]
    inside = (held[GAP] >= low) & (held[GAP] <= high)
    assert table[GAP][0.8]["covered"] == pytest.approx(inside.float().mean().item())
    metrics = property_metrics(head, features[N_TRAIN:], held)
    assert metrics[GAP]["interval_80"] == table[GAP][0.8]["covered"]
    above = held[GAP] > 0
    error = (head.predict(features[N_TRAIN:])[GAP][0] - held[GAP]).abs()
    assert metrics[GAP]["n_positive"] == int(above.sum())
    assert metrics[GAP]["mae_positive"] == pytest.approx(error[above].mean().item())


def test_noisy_rows_get_the_larger_uncertainty(
    head: PropertyHead, features: torch.Tensor, labels: dict[str, torch.Tensor]
) -> None:
    rows = features[N_TRAIN:]
    noisy = rows[:, 1] > 0
    std = head.predict(rows)[ENERGY][1]
    assert std[noisy].median() > 1.7 * std[~noisy].median()
    # One noise for all rows would cover nearly all of the quiet half and too few of the other.
    for half in (noisy, ~noisy):
        part = {ENERGY: labels[ENERGY][N_TRAIN:][half]}
        covered = coverage_table(head, rows[half], part, (0.8,))[ENERGY][0.8]["covered"]
        assert covered == pytest.approx(0.8, abs=0.12)


def test_no_gap_is_predicted_below_zero(head: PropertyHead, features: torch.Tensor) -> None:
    mean = head.predict(features)[GAP][0]
    low, high = head.intervals(features, (0.95,))[GAP][0.95]
    assert mean.min() == low.min() == 0
    assert ((low <= mean) & (mean <= high)).all()
    assert head.intervals(features, (0.95,))[ENERGY][0.95][0].min() < 0


def test_intervals_without_calibration_say_nothing(
    head: PropertyHead, features: torch.Tensor
) -> None:
    wider = head.with_target("formation_energy_per_atom@b", copy_from=ENERGY)
    low, high = wider.intervals(features[:4])["formation_energy_per_atom@b"][0.5]
    assert low.eq(-math.inf).all()
    assert high.eq(math.inf).all()
    # A gap never calibrated still cannot be negative; what was calibrated before stays.
    low, high = head.with_target("band_gap@b").intervals(features[:4])["band_gap@b"][0.5]
    assert (low.tolist(), high.tolist()) == ([0.0] * 4, [math.inf] * 4)
    for mine, theirs in zip(
        head.intervals(features)[GAP].values(), wider.intervals(features)[GAP].values()
    ):
        assert torch.equal(mine[0], theirs[0])
        assert torch.equal(mine[1], theirs[1])
    again = PropertyHead.from_bytes(head.to_bytes())
    assert torch.equal(
        again.intervals(features)[GAP][0.8][1], head.intervals(features)[GAP][0.8][1]
    )


def test_rows_kept_out_once_are_kept_out_in_every_fit(features: torch.Tensor) -> None:
    """Taking the label of a kept-out row away changes the calibration, never the weights."""
    rows = features[:400]
    values = {ENERGY: rows[:, 0].clone()}
    short = HeadConfig(width=8, members=2, epochs=2, batch_size=64, calibration_fraction=0.4)
    fresh = new_head(rows, values, short, seed=0)

    def teaches(row: int, order: torch.Tensor, seed: int) -> bool:
        changed = {ENERGY: values[ENERGY].clone()}
        changed[ENERGY][row] = torch.nan
        heads = [
            fit_head(fresh, rows[order], {ENERGY: own[ENERGY][order]}, short, seed=seed)
            for own in (values, changed)
        ]
        return not torch.equal(heads[0].weight_1, heads[1].weight_1)

    first = [teaches(row, torch.arange(400), 0) for row in range(8)]
    # Another seed, order and number of rows: the same rows teach.
    second = [teaches(row, torch.arange(399, -1, -1)[100:], 1) for row in range(8)]
    assert first == second
    assert 0 < sum(first) < 8


def test_the_rows_in_focus_calibrate(
    head: PropertyHead, features: torch.Tensor, labels: dict[str, torch.Tensor]
) -> None:
    """A head asked about another population is calibrated on that one, where it is labelled."""
    rows = {ENERGY: labels[ENERGY][:N_TRAIN]}
    shifted = rows[ENERGY].clone()
    focus = torch.zeros(N_TRAIN, dtype=torch.bool)
    focus[:400] = True
    noise = torch.randn(400, generator=torch.Generator().manual_seed(2))
    shifted[:400] += 5 * noise
    short = HeadConfig(
        width=32, members=3, epochs=1, learning_rate=1e-5, calibration_fraction=0.2, dropout=0
    )
    plain, focused = (
        fit_head(head, features[:N_TRAIN], {ENERGY: shifted}, short, seed=0, focus=chosen)
        for chosen in (None, focus)
    )
    judged = {ENERGY: features[N_TRAIN:, 0] + 5 * torch.randn(3000)}
    covered = [
        coverage_table(one, features[N_TRAIN:], judged, (0.8,))[ENERGY][0.8]["covered"]
        for one in (plain, focused)
    ]
    assert covered[0] < 0.6
    assert covered[1] == pytest.approx(0.8, abs=0.12)
