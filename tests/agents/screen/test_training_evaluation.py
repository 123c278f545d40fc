"""Error bars from held-out crystals: counted by hand, and covering on average what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from agents.screen.alignn_checkpoint import Calibration
from agents.screen.alignn_graph import build_graph
from agents.screen.training_data import LabelledGraphs
from agents.screen.training_evaluation import calibrate, measure, remember


def test_half_width_is_the_conformal_rank() -> None:
    """9 errors 1 to 9: the ceil(0.6827 * 10) = 7th smallest; 2 groups: the 4th of 4 or 5."""
    predicted = torch.arange(9.0)
    labels = predicted + torch.tensor([9.0, -1, 8, -2, 7, -3, 6, -4, 5])
    assert calibrate(predicted, labels, groups=1) == Calibration(edges=(), std=(7.0,))
    halves = calibrate(predicted, labels, groups=2)
    assert halves.edges == (4.0,)
    # below 4: errors 9 1 8 2, rank ceil(0.6827 * 5) = 4; from 4 on: 7 3 6 4 5, rank 5
    assert halves.std == (9.0, 7.0)


def test_groups_follow_errors_that_grow_with_the_value() -> None:
    """For normal errors of width s(value), 68.27 % lie within s."""
    random = np.random.default_rng(0)
    truth = random.uniform(0, 5, 20_000)
    noise = random.normal(size=truth.shape) * np.where(truth < 1, 0.1, 0.5)
    calibration = calibrate(torch.tensor(truth), torch.tensor(truth + noise))
    assert calibration.edges == pytest.approx([1, 2, 3, 4], abs=0.06)
    assert calibration.std[0] == pytest.approx(0.1, rel=0.05)
    assert calibration.std[1:] == pytest.approx([0.5] * 4, rel=0.05)


def salts(sizes: list[int]) -> LabelledGraphs:
    graphs = []
    for size in sizes:
        crystal = Structure(Lattice.cubic(3), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
        crystal.make_supercell([size, 1, 1])
        graphs.append(build_graph(crystal, 3.5))
    labels = torch.tensor([[-2.0, 1.0]] * len(sizes))
    return LabelledGraphs(tuple(map(str, sizes)), tuple(graphs), labels)


def test_errors_are_those_of_a_hand_calculation() -> None:
    data = salts([1, 2, 3])
    predicted = torch.tensor([[-2.5, 1.5], [-2.0, -1.0], [-1.0, 1.0]])
    linear = torch.zeros(101, 2)
    linear[11, 0], linear[17, 1] = -2.0, 2.0
    calibration = {
        "formation_energy_per_atom": Calibration(edges=(-1.5,), std=(0.4, 2.0)),
        "band_gap": Calibration(edges=(), std=(0.5,)),
    }
    errors = measure(predicted, data, tuple(calibration), calibration, linear, most_atoms=4)
    assert errors.crystals == 3
    assert errors.mae == pytest.approx(
        {"formation_energy_per_atom": 0.5, "band_gap": 2.5 / 3, "band_gap_at_least_0": 0.5},
        abs=1e-3,
    )
    assert errors.rmse["band_gap"] == pytest.approx((4.25 / 3) ** 0.5, abs=1e-3)
    assert (errors.crystals_larger, errors.mae_larger["formation_energy_per_atom"]) == (1, 1.0)
    assert errors.coverage == pytest.approx(
        {"formation_energy_per_atom": 2 / 3, "band_gap": 2 / 3}, abs=1e-3
    )
    assert errors.linear == {"formation_energy_per_atom": 1.0, "band_gap": 0.0}


def test_domain_remembers_compositions_elements_and_sizes() -> None:
    domain = remember(salts([1, 2, 3] * 4), "salts")
    assert (domain.largest, domain.name) == (6, "salts")
    salt = Structure(Lattice.cubic(3), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
    assert domain.reasons(salt) == ()
    assert domain.distance(salt.composition) == 0
    salt.replace_species({"Na": "K"})
    assert [reason.split(":")[0] for reason in domain.reasons(salt)] == ["elements"]
