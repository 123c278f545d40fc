"""Drawing until conditions hold: nothing is hidden, nothing wrong comes through."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from model.data.canonical import Crystal
from model.prior.conditions import Conditions
from model.prior.targeted import draw, overlapping

CELL = np.array([4.0, 4, 4, 90, 90, 90])


class FakeGenerator:
    """Decodes codes to the elements they say, far apart; the gap is the number of atoms."""

    name = "fake"

    def __init__(self, prior, wrong: bool = False) -> None:
        self.prior, self.wrong = prior, wrong
        self.head = SimpleNamespace(targets=["band_gap@x"], predict=self._predict)

    def decode_crystals(self, codes):
        result = []
        for c in codes:
            slots = self.prior.tables.role_slot[c.n_species - 1].tolist()
            z = np.array([self.prior.element_of(c.species[slots[a[0]]]) for a in c.local])
            if self.wrong and c.crystal[0]:
                z = z + 1
            frac = np.arange(len(z))[:, None] / len(z) * np.ones(3)
            result.append(Crystal(z, frac, CELL))
        return result

    def features(self, codes):
        return torch.tensor([[float(c.n_atoms)] for c in codes])

    @staticmethod
    def _predict(features):
        return {"band_gap@x": (features[:, 0], torch.ones(len(features)))}


def test_free_draws_are_not_selected(roomy):
    draws = draw(FakeGenerator(roomy, wrong=True), roomy, 50, seed=0)
    assert (draws.drawn, len(draws.codes), draws.rejected) == (50, 50, {})
    assert torch.equal(draws.log_likelihood, roomy.log_likelihood(draws.codes))


def test_a_window_keeps_what_the_head_puts_into_it(roomy):
    conditions = Conditions(windows={"band_gap@x": (3.5, 5.5)})
    draws = draw(FakeGenerator(roomy), roomy, 20, seed=0, conditions=conditions)
    assert {c.n_atoms for c in draws.codes} <= {4, 5}
    assert len(draws.codes) == 20
    assert draws.rejected["band_gap@x"] > 0
    assert draws.drawn >= 20 + draws.rejected["band_gap@x"]


def test_draws_end_where_they_were_told_to(roomy):
    conditions = Conditions(windows={"band_gap@x": (99.0, 100.0)})
    draws = draw(FakeGenerator(roomy), roomy, 5, seed=0, conditions=conditions, max_draws=30)
    assert draws.codes == []
    assert (draws.drawn, draws.rejected) == (30, {"band_gap@x": 30})


def test_crystals_decoded_to_other_elements_do_not_meet_a_condition(roomy):
    generator = FakeGenerator(roomy, wrong=True)
    draws = draw(generator, roomy, 20, seed=0, conditions=Conditions(formula="SrO"))
    assert draws.rejected["composition"] > 0
    for crystal in draws.crystals:
        counts = Counter(crystal.numbers.tolist())
        assert counts[38] == counts[8] == len(crystal.numbers) / 2


def test_an_unknown_property_is_refused(roomy):
    conditions = Conditions(windows={"colour@x": (0.0, 1.0)})
    with pytest.raises(ValueError, match=r"colour@x.*band_gap@x"):
        draw(FakeGenerator(roomy), roomy, 1, seed=0, conditions=conditions)


def test_overlaps_are_found_across_the_cell_boundary():
    z = np.array([8, 8])
    near = Crystal(z, np.array([[0, 0, 0.95], [0, 0, 0.05]]), CELL)
    apart = Crystal(z, np.array([[0, 0, 0.85], [0, 0, 0.05]]), CELL)
    thin = Crystal(z[:1], np.zeros((1, 3)), np.array([0.4, 4, 4, 90, 90, 90]))
    impossible = Crystal(z[:1], np.zeros((1, 3)), np.array([4, 4, 4, 120, 120, 120.0]))
    assert [overlapping(c) for c in (near, apart, thin, impossible)] == [True, False, True, True]
