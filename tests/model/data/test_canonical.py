"""The canonical form of a crystal, against pymatgen."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import DummySpecies, Lattice, Structure

from model.data.canonical import (
    Crystal,
    canonical,
    crystal_from_structure,
    structure_from_arrays,
)
from model.errors import UnencodableCrystal


def _random_crystal(rng: np.random.Generator, n: int) -> Crystal:
    return Crystal(
        numbers=rng.choice([8, 22, 38, 56], n),
        frac=rng.random((n, 3)),
        cell=np.concatenate([rng.uniform(3, 8, 3), rng.uniform(70, 110, 3)]),
    )


@pytest.mark.parametrize("seed", range(10))
def test_translation_and_permutation_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    crystal = _random_crystal(rng, int(rng.integers(1, 12)))
    order = rng.permutation(len(crystal.numbers))
    moved = Crystal(
        crystal.numbers[order], crystal.frac[order] + rng.normal(size=3) * 3, crystal.cell
    )
    first, second = canonical(crystal), canonical(moved)
    np.testing.assert_array_equal(first.numbers, second.numbers)
    difference = first.frac - second.frac
    np.testing.assert_allclose(difference - np.rint(difference), 0, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_canonical_form_is_the_same_crystal(seed: int) -> None:
    crystal = _random_crystal(np.random.default_rng(seed), 6)
    form = canonical(crystal)
    before, _ = structure_from_arrays(crystal.numbers, crystal.frac, crystal.cell)
    after, _ = structure_from_arrays(form.numbers, form.frac, form.cell)
    matcher = StructureMatcher(ltol=1e-3, stol=1e-3, angle_tol=0.1, scale=False)
    assert matcher.fit(before, after)


def test_ranks_follow_electronegativity_and_the_rarest_element_is_the_origin() -> None:
    structure = Structure(
        Lattice.cubic(4), ["O", "Ti", "O", "Sr", "O"], np.random.default_rng(1).random((5, 3))
    )
    form = canonical(crystal_from_structure(structure))
    assert form.numbers.tolist() == [38, 22, 8, 8, 8]  # Sr 0.95, Ti 1.54, O 3.44
    assert form.ranks.tolist() == [0, 1, 2, 2, 2]
    np.testing.assert_allclose(form.frac[0], 0)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ([np.nan, 4, 4, 90, 90, 90], "not finite"),
        ([4, 4, np.inf, 90, 90, 90], "not finite"),
        ([4, 4, 0.0, 90, 90, 90], "edges"),
        ([4, 4, 1e9, 90, 90, 90], "edges"),
        ([4, 4, 4, 90, 90, 190], "angles"),
        ([4, 4, 4, 30, 30, 120], "angles"),
        ([0.1, 0.1, 0.1, 30, 30, 59.99], "volume"),
    ],
)
def test_an_impossible_cell_is_a_reason_not_an_exception(cell: list[float], reason: str) -> None:
    structure, error = structure_from_arrays(np.array([11]), np.zeros((1, 3)), np.array(cell))
    assert structure is None
    assert error is not None
    assert reason in error


def test_what_is_not_a_crystal_of_elements_is_refused() -> None:
    lattice = Lattice.cubic(4)
    disordered = Structure(lattice, [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])
    dummy = Structure(lattice, [DummySpecies("X")], [[0, 0, 0]])
    empty = Structure(lattice, [], [])
    for structure, reason in ((disordered, "occupanc"), (dummy, "element"), (empty, "no atoms")):
        with pytest.raises(UnencodableCrystal, match=reason):
            crystal_from_structure(structure)
