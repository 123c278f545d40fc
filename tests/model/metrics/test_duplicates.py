"""Uniqueness and novelty: crystals written in other ways are the same, and every pair is tried."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from model.data.canonical import Crystal, crystal_from_structure, structure_from_arrays
from model.metrics.duplicates import uniqueness_and_novelty


def _salt(group: str = "Fm-3m", edge: float = 5.6) -> Structure:
    chlorine = [0.25] * 3 if group == "F-43m" else [0.5] * 3
    return Structure.from_spacegroup(group, Lattice.cubic(edge), ["Na", "Cl"], [[0] * 3, chlorine])


def _crystals(*structures: Structure) -> list[Crystal]:
    return [crystal_from_structure(s) for s in structures]


def test_other_cells_of_the_same_crystal_are_repeats() -> None:
    rocksalt = _salt()
    primitive = rocksalt.get_primitive_structure()
    shifted = rocksalt.copy()
    shifted.translate_sites(range(len(shifted)), [0.13, 0.2, 0.3])
    larger = rocksalt.copy()
    larger.scale_lattice(rocksalt.volume * 1.05)
    other = _salt("Pm-3m", 3.4)
    result = uniqueness_and_novelty(
        _crystals(rocksalt, primitive, shifted, larger, other), _crystals(other)
    )
    assert result["unique"] == 2 / 5
    assert result["novel"] == 4 / 5
    assert result["unique_and_novel"] == 1 / 5
    assert result["novel_formula"] == 0


def test_another_formula_is_novel_and_no_cell_is_not() -> None:
    no_cell = Crystal(np.array([11, 17]), np.zeros((2, 3)), np.array([4, 4, 4, 20, 20, 160.0]))
    potassium = _salt()
    potassium.replace_species({"Na": "K"})
    crystals = [*_crystals(potassium), no_cell]
    result = uniqueness_and_novelty(crystals, _crystals(_salt()))
    assert result["novel_formula"] == 0.5
    assert result["novel"] == result["unique"] == 0.5
    with pytest.raises(ValueError, match="no crystals"):
        uniqueness_and_novelty([], crystals)


def test_the_shares_are_those_of_trying_every_pair() -> None:
    rng = np.random.default_rng(4)
    kinds = [_salt(), _salt("Pm-3m", 3.4)]
    crystals = []
    for kind in (0, *rng.integers(0, 2, 8)):
        structure = kinds[int(kind)].get_primitive_structure()
        structure.perturb(0.05, seed=len(crystals))
        crystals.append(crystal_from_structure(structure))
    references, crystals = crystals[:1], crystals[1:]
    matcher = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10)
    built = {
        id(c): structure_from_arrays(c.numbers, c.frac, c.cell)[0] for c in (*crystals, *references)
    }
    seen = [any(matcher.fit(built[id(c)], built[id(r)]) for r in references) for c in crystals]
    unique: list[Crystal] = []
    for c in crystals:
        if not any(matcher.fit(built[id(c)], built[id(u)]) for u in unique):
            unique.append(c)
    result = uniqueness_and_novelty(crystals, references)
    assert result["novel"] == pytest.approx(1 - np.mean(seen))
    assert result["unique"] == pytest.approx(len(unique) / len(crystals))
    assert 0 < np.mean(seen) < 1


def test_no_reference_of_a_formula_is_too_many() -> None:
    rng = np.random.default_rng(5)
    crowd = []
    for _ in range(60):  # other crystals of the formula, nearer in shape than the right one
        loose = Crystal(
            np.array([11, 17]), rng.random((2, 3)), np.array([*rng.uniform(3, 9, 3), 90, 90, 90.0])
        )
        crowd.append(loose)
    target = crystal_from_structure(_salt())
    assert uniqueness_and_novelty([target], [*crowd, target])["novel"] == 0


def test_the_order_of_the_set_changes_nothing_for_clear_cases() -> None:
    structures = [_salt(), _salt("Pm-3m", 3.4), _salt()]
    shares = {
        uniqueness_and_novelty(_crystals(*order), _crystals(_salt()))["unique"]
        for order in itertools.permutations(structures)
    }
    assert shares == {2 / 3}
