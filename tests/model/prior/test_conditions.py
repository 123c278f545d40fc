"""Conditions are met by every draw, drawn from the right distribution, or refused."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from pydantic import ValidationError

from model.prior.conditions import Conditions, ImpossibleConditions

STRONTIUM, TITANIUM, OXYGEN = 38, 22, 8


def cell(prior, codes):
    """Return the cell content that codes stand for, by the tables alone."""
    slots = prior.tables.role_slot[codes.n_species - 1].tolist()
    return Counter(prior.element_of(codes.species[slots[atom[0]]]) for atom in codes.local)


def test_a_formula_fixes_the_composition_and_leaves_the_size_free(roomy):
    conditions = Conditions(formula="SrO")
    drawn = roomy.sample(60, seed=0, temperature=3.0, conditions=conditions)
    cells = [cell(roomy, c) for c in drawn]
    assert all(set(c) == {STRONTIUM, OXYGEN} and c[STRONTIUM] == c[OXYGEN] for c in cells)
    assert len({c[OXYGEN] for c in cells}) > 1


def test_formula_units_fix_the_cell(roomy):
    conditions = Conditions(formula="SrTiO2", formula_units=2)
    for codes in roomy.sample(20, seed=0, conditions=conditions):
        assert cell(roomy, codes) == {STRONTIUM: 2, TITANIUM: 2, OXYGEN: 4}


def test_a_chemical_system_is_met_exactly(roomy):
    conditions = Conditions(chemical_system=frozenset({"Sr", "O"}))
    for codes in roomy.sample(40, seed=0, conditions=conditions):
        assert set(cell(roomy, codes)) == {STRONTIUM, OXYGEN}


@pytest.mark.parametrize("wanted", [6, (3, 5)])
def test_numbers_of_atoms_are_met(roomy, wanted):
    low, high = (wanted, wanted) if isinstance(wanted, int) else wanted
    counts = {c.n_atoms for c in roomy.sample(100, seed=0, conditions=Conditions(n_atoms=wanted))}
    assert counts <= set(range(low, high + 1))
    assert len(counts) == high - low + 1


def test_elements_are_present_and_absent_as_asked(roomy):
    conditions = Conditions(must_contain=frozenset({"Ti"}), must_not_contain=frozenset({"Sr"}))
    for codes in roomy.sample(60, seed=0, conditions=conditions):
        assert TITANIUM in cell(roomy, codes)
        assert STRONTIUM not in cell(roomy, codes)


def test_conditioned_draws_follow_the_prior_given_the_condition(tiny, every_crystal):
    # Masks alone would favour beginnings that hardly ever lead to oxygen.
    canonical = [
        c
        for c in every_crystal
        if c.n_species == 1 or _ordered([tiny.element_of(t) for t in c.species])
    ]
    with_oxygen = [c for c in canonical if OXYGEN in cell(tiny, c)]
    weight = tiny.log_likelihood(with_oxygen).double().exp()
    expected = Counter()
    for c, p in zip(with_oxygen, (weight / weight.sum()).tolist()):
        expected[frozenset(cell(tiny, c).items())] += p
    conditions = Conditions(must_contain=frozenset({"O"}))
    drawn = tiny.sample(3000, seed=0, conditions=conditions)
    found = Counter(frozenset(cell(tiny, c).items()) for c in drawn)
    assert set(found) <= set(expected)
    for key, p in expected.items():
        assert found[key] / 3000 == pytest.approx(p, abs=0.04)


def _ordered(elements):
    rank = {STRONTIUM: 0, TITANIUM: 1, OXYGEN: 2}
    return all(rank[a] < rank[b] for a, b in itertools.pairwise(elements))


@pytest.mark.parametrize(
    ("conditions", "reason"),
    [
        ({"formula": "FeO"}, "Fe"),
        ({"formula": "SrTiO3", "formula_units": 2}, "formula units"),
        ({"formula": "SrO", "n_atoms": 3}, "formula units"),
        ({"chemical_system": {"Sr", "Ti", "O"}, "n_atoms": 2}, "3 elements in at most 2"),
        ({"chemical_system": {"Sr"}, "must_contain": {"O"}}, "O"),
        ({"must_contain": {"O"}, "must_not_contain": {"O"}}, "O"),
        ({"n_atoms": 9}, "at most 8"),
    ],
)
def test_impossible_conditions_say_why(roomy, conditions, reason):
    with pytest.raises(ImpossibleConditions, match=reason):
        roomy.sample(1, seed=0, conditions=Conditions(**conditions))


@pytest.mark.parametrize(
    "wrong",
    [
        {"must_contain": {"Xx"}},
        {"formula": "Sr0.5O"},
        {"formula_units": 2},
        {"n_atoms": (5, 3)},
        {"chemical_system": set()},
        {"windows": {"band_gap@pbe": (2.0, 1.0)}},
    ],
)
def test_conditions_without_meaning_are_refused(wrong):
    with pytest.raises(ValidationError):
        Conditions(**wrong)


def test_cells_are_drawn_as_given(roomy):
    cells = [{OXYGEN: 4, STRONTIUM: 2}, {TITANIUM: 3}, {STRONTIUM: 1, TITANIUM: 1, OXYGEN: 3}]
    drawn = roomy.sample_cells(cells, seed=0)
    assert [cell(roomy, c) for c in drawn] == cells


def test_a_cell_without_room_is_refused(roomy):
    with pytest.raises(ImpossibleConditions):
        roomy.sample_cells([{OXYGEN: 9}], seed=0)


@pytest.mark.parametrize(
    ("cell", "amounts"),
    [({11: 1, 8: 1}, {11: 1, 8: 1}), ({11: 4, 8: 4}, {11: 1, 8: 1}), ({17: 2}, {17: 1})],
)
def test_peroxides_and_molecules_are_reduced_like_any_formula(cell, amounts):
    conditions = Conditions.of_cell(cell)
    assert conditions.amounts() == amounts
    assert conditions.n_atoms == sum(cell.values())
