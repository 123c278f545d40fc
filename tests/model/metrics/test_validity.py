"""Validity: distances as pymatgen finds them, charge neutrality by going through all states."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import smact
from pymatgen.core import Composition, Lattice, Structure

from model.data.canonical import Crystal
from model.data.dataset import read_split
from model.metrics.validity import (
    reduced_formulas,
    shortest_distances,
    smact_verdict,
    structural,
    validity,
    volumes,
)


def _random_crystals(n: int) -> list[Crystal]:
    rng = np.random.default_rng(3)
    return [
        Crystal(
            numbers=rng.integers(1, 90, size),
            frac=rng.random((size, 3)),
            cell=np.concatenate([rng.uniform(2, 9, 3), rng.uniform(55, 115, 3)]),
        )
        for size in rng.integers(1, 9, n)
    ]


def _shortest_by_search(crystal: Crystal) -> float:
    """Look at every neighbour of every atom within 12 Å."""
    lattice = Lattice.from_parameters(*crystal.cell)
    structure = Structure(lattice, crystal.numbers, crystal.frac)
    return min(n.nn_distance for site in structure for n in structure.get_neighbors(site, 12))


def test_shortest_distances_include_the_images() -> None:
    crystals = [c for c in _random_crystals(60) if np.isfinite(volumes([c])[0])]
    found = shortest_distances(crystals)
    assert found == pytest.approx([_shortest_by_search(c) for c in crystals], abs=1e-6)


def test_volumes_are_those_of_pymatgen() -> None:
    crystals = [c for c in _random_crystals(40) if np.isfinite(volumes([c])[0])]
    expected = [Lattice.from_parameters(*c.cell).volume for c in crystals]
    assert volumes(crystals) == pytest.approx(expected)


def test_atoms_on_top_of_their_own_image_are_refused() -> None:
    def cubic(edge: float) -> Crystal:
        return Crystal(np.array([6]), np.zeros((1, 3)), np.array([edge, 4, 4, 90, 90, 90.0]))

    no_cell = Crystal(np.array([6]), np.zeros((1, 3)), np.array([4, 4, 4, 20, 20, 160.0]))
    assert structural([cubic(0.5), cubic(0.51), no_cell]).tolist() == [False, True, False]


def _neutral_by_search(formula: str) -> bool:
    """Try every oxidation state of SMACT14; the anion must be the more electronegative."""
    amounts = {s: int(n) for s, n in Composition(formula).get_el_amt_dict().items()}
    if len(amounts) == 1 or all(symbol in smact.metals for symbol in amounts):
        return True
    elements = [smact.Element(symbol) for symbol in amounts]
    if any(e.pauling_eneg is None for e in elements):
        return False
    divisor = math.gcd(*amounts.values())
    counts = [n // divisor for n in amounts.values()]
    for states in itertools.product(*(e.oxidation_states_smact14 or [] for e in elements)):
        if sum(q * n for q, n in zip(states, counts)):
            continue
        cations = [e.pauling_eneg for q, e in zip(states, elements) if q > 0]
        anions = [e.pauling_eneg for q, e in zip(states, elements) if q < 0]
        if all(c < a for c in cations for a in anions):
            return True
    return False


@pytest.mark.data
def test_charge_neutrality_is_what_a_search_through_all_states_finds(data_dir: Path) -> None:
    table = read_split("mp20", "test", data_dir=data_dir, limit=1200)
    rng = np.random.default_rng(0)
    formulas = sorted(set(table.formulas))
    chosen = [str(f) for f in rng.choice(formulas, 300, replace=False)]
    found = [smact_verdict(f).cdvae for f in chosen]
    assert found == [_neutral_by_search(f) for f in chosen]
    assert 0.8 < np.mean(found) < 0.99


def test_carbon_has_no_compositional_validity() -> None:
    diamond = Crystal(
        np.array([6, 6]), np.array([[0.0] * 3, [0.25] * 3]), np.array([2.52] * 3 + [60.0] * 3)
    )
    result = validity([diamond])
    assert result["compositional"] is None
    assert result["compositional_strict"] is None
    assert result["both"] == result["structural"] == 1.0
    assert result["shortest_distance"]["min"] == pytest.approx(2.52 * np.sqrt(3 / 8), rel=1e-6)


def test_the_share_of_valid_crystals_counts_both_rules() -> None:
    cell = np.array([4.0] * 3 + [90.0] * 3)
    apart, together = np.array([[0.0] * 3, [0.5] * 3]), np.array([[0.0] * 3, [0.05] * 3])
    crystals = [
        Crystal(np.array([55, 17]), apart, cell),  # CsCl
        Crystal(np.array([55, 17]), together, cell),
        Crystal(np.array([17, 9]), apart, cell),  # ClF
        Crystal(np.array([8, 9]), apart, cell),  # OF
    ]
    assert reduced_formulas(crystals)[0] == "CsCl"
    result = validity(crystals)
    neutral = [_neutral_by_search(f) for f in ("CsCl", "CsCl", "ClF", "FO")]
    assert result["structural"] == 0.75
    assert result["compositional"] == np.mean(neutral)
    assert result["both"] == np.mean(np.array(neutral) & [True, False, True, True])
    with pytest.raises(ValueError, match="no crystals"):
        validity([])
