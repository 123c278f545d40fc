"""Objectives besides the fitness, and the acquisition they weigh."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pymatgen.core import Composition, Lattice, Structure
from scipy.stats import norm

from agents.propose.acquisition import acquisition
from agents.propose.objectives import Objectives, UnknownObjective, front_numbers
from agents.propose.settings import Objective
from agents.screen.domain import mp2018
from agents.screen.settings import ScreenSettings
from agents.screen.validity import excludes, judge
from agents.targets import Window

GAP = Window(property="band_gap", min=0.5, max=2.5)


class GapHead:
    """Predicts the gaps it is told."""

    targets = ("formation_energy_per_atom@toy-1", "band_gap@toy-1")

    def predict(self, features: torch.Tensor) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        return {"band_gap@toy-1": (features, features)}


@pytest.fixture
def world():
    bank = SimpleNamespace(
        formulas=np.array(["NaCl", "KCl", "LiF"]), rows=lambda role: np.array([0, 1])
    )
    gaps = torch.tensor([0.1, 0.5, 1.0, 2.5, 4.0])
    return SimpleNamespace(name="toy", bank=bank, head=GapHead(), features=lambda codes: gaps)


def test_distance_to_the_window_and_known_formulas(world):
    wanted = [Objective(kind="gap_window", weight=2.0), Objective(kind="novelty")]
    objectives = Objectives(wanted, world, [GAP])
    values = objectives([None] * 5, ["NaCl", "CsCl", "LiF", "KCl", "RbCl"])
    assert values[:, 0] == pytest.approx([0.4, 0, 0, 0, 1.5])
    assert values[:, 1].tolist() == [1, 0, 0, 1, 0]  # LiF was never trained on
    assert objectives.desirability(values) == pytest.approx(
        np.exp(-2.0 * values[:, 0] - values[:, 1])
    )


def test_formulas_of_a_reference_collection_are_known_too(world):
    asked = []

    def is_known(formula):
        asked.append(formula)
        return formula == "CsCl"

    objectives = Objectives([Objective(kind="novelty")], world, [], is_known)
    for _ in range(2):
        values = objectives([None] * 4, ["NaCl", "CsCl", "RbCl", ""])
        assert values[:, 0].tolist() == [1, 1, 0, 0]
    assert asked == ["CsCl", "RbCl"]  # each once, and no training crystal


def test_the_domain_is_that_of_the_screens(world):
    objectives = Objectives([Objective(kind="domain", weight=2.0)], world, [])
    crystals = [
        Structure(Lattice.cubic(9), species, np.arange(3 * len(species)).reshape(-1, 3) / 40)
        for species in (["Na", "Cl"], ["Rb", "Cu", "Cu", "Cu", "O", "O"], ["Cs", *["Zn"] * 5, "F"])
    ]
    crystals += [Structure(Lattice.cubic(9), ["Ra", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])]
    formulas = [crystal.composition.reduced_formula for crystal in crystals]
    values = objectives([None] * 5, [*formulas, ""])
    reasons = [mp2018().reasons(crystal) for crystal in crystals]
    silenced = [any(r.startswith(("composition", "elements")) for r in found) for found in reasons]
    assert values[:, 0].tolist() == [*map(float, silenced), 1.0]
    assert silenced == [False, False, True, True]
    assert objectives.desirability(values)[2] == pytest.approx(np.exp(-2.0))


def test_the_rules_are_those_of_the_screens(world):
    rules = ScreenSettings(exclude_lanthanides=True, forbidden_elements=("Tl",), max_elements=3)
    known = {
        "NaCl": False,
        "La2O3": True,
        "TlCl": True,
        "NaKRbCl3": True,
        "CsPbI3": False,
        "": False,
    }
    objectives = Objectives(
        [Objective(kind="rules", weight=5.0)], world, [], None, lambda one: excludes(rules, one)
    )
    assert objectives([None] * 6, list(known))[:, 0].tolist() == [*map(float, known.values())]
    names = ("n_elements", "elements", "lanthanide", "actinide")
    for formula, excluded in known.items():
        if formula:
            species = [str(one) for one in Composition(formula).elements]
            places = np.arange(3 * len(species)).reshape(-1, 3) / 20
            verdict = judge(Structure(Lattice.cubic(9), species, places), rules)
            assert bool(set(verdict.failed) & set(names)) is excluded
    without = Objectives([Objective(kind="rules")], world, [])
    assert without([None], ["La2O3"]).tolist() == [[0.0]]


def test_a_half_open_window(world):
    objectives = Objectives(
        [Objective(kind="gap_window")], world, [Window(property="band_gap", min=2.0)]
    )
    assert objectives([None] * 5, [""] * 5)[:, 0] == pytest.approx([1.9, 1.5, 1.0, 0, 0])


def test_an_objective_nobody_can_tell_is_refused(world):
    wanted = [Objective(kind="gap_window")]
    with pytest.raises(UnknownObjective, match="needs a target with the property band_gap"):
        Objectives(wanted, world, [])
    world.head.targets = ("formation_energy_per_atom@toy-1",)
    with pytest.raises(UnknownObjective, match="the head of toy predicts no band gap"):
        Objectives(wanted, world, [GAP])


def dominates(one: np.ndarray, other: np.ndarray) -> bool:
    return bool((one <= other).all() and (one < other).any())


def test_fronts_are_those_of_a_brute_force_search():
    rng = np.random.default_rng(0)
    points = rng.integers(0, 6, (60, 3)).astype(float)
    left, number, expected = set(range(60)), 0, np.zeros(60, dtype=int)
    while left:
        front = {
            i
            for i in left
            if not any(
                (points[j] <= points[i]).all() and (points[j] < points[i]).any() for j in left
            )
        }
        for i in front:
            expected[i] = number
        left -= front
        number += 1
    assert front_numbers(points).tolist() == expected.tolist()
    assert front_numbers(points[:, :1]).tolist() == points[:, 0].astype(int).tolist()


def test_probability_and_improvement_are_those_of_the_normal_distribution():
    mean, std = np.array([-1.0, 0.2, 0.5]), np.array([0.1, 0.5, 2.0])
    found = acquisition(mean, std, -0.5, "probability")
    assert found == pytest.approx(norm(mean, std).cdf(-0.5))
    draws = np.random.default_rng(0).normal(mean, std, (400_000, 3))
    improvement = np.maximum(-0.5 - draws, 0).mean(0)
    assert acquisition(mean, std, -0.5, "improvement") == pytest.approx(improvement, abs=5e-3)
