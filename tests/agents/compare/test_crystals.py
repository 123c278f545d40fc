"""Repeated crystals and structure types against pymatgen and known prototypes."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from agents.compare.crystals import _nearly_equal, distinct, prototype


def _perovskite(a: str, b: str, x: str, edge: float = 3.9, noise: float = 0.0) -> Structure:
    sites = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    shift = np.random.default_rng(1).uniform(-noise, noise, sites.shape)
    return Structure(Lattice.cubic(edge), [a, b, x, x, x], sites + shift)


def _layered(edge: float) -> Structure:
    sites = [[0, 0, 0], [0, 0, 0.31], [0.5, 0, 0.62], [0, 0.5, 0.62], [0.1, 0.1, 0.8]]
    return Structure(Lattice.tetragonal(edge, 3 * edge), ["Sr", "Ti", "O", "O", "O"], sites)


def test_numbers_agree_with_the_matcher_on_every_pair() -> None:
    crystals = [
        _perovskite("Sr", "Ti", "O"),
        _perovskite("Sr", "Ti", "O", edge=4.3),
        _perovskite("Ti", "Sr", "O"),
        _perovskite("Sr", "Ti", "O", noise=0.015),
        _layered(3.5),
        _layered(3.7),
        _perovskite("Ba", "Ti", "O"),
    ]
    numbers = distinct(crystals)
    matcher = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10)
    for i, j in combinations(range(len(crystals)), 2):
        assert (numbers[i] == numbers[j]) == matcher.fit(crystals[i], crystals[j]), (i, j)
    assert len(set(numbers)) > 2
    assert numbers[0] == 0


@pytest.mark.parametrize("seed", range(20))
def test_what_is_taken_as_equal_without_the_matcher_fits_in_the_matcher(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lattice = Lattice.from_parameters(*rng.uniform(3, 6, 3), *rng.uniform(70, 110, 3))
    frac = rng.random((5, 3))
    species = ["Sr", "Ti", "O", "O", "O"]
    one = Structure(lattice, species, frac)
    moved = frac + rng.uniform(-0.019, 0.019, frac.shape)
    scale = rng.uniform(0.8, 1.3) * (1 + rng.uniform(-0.03, 0.03, 3))
    other = Structure(
        Lattice.from_parameters(
            *np.asarray(lattice.abc) * scale, *np.add(lattice.angles, rng.uniform(-1.9, 1.9, 3))
        ),
        species,
        moved,
    )
    if _nearly_equal(one, other):
        assert StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10).fit(one, other)
    swapped = Structure(lattice, ["Ti", "Sr", "O", "O", "O"], frac)
    assert not _nearly_equal(one, swapped)


def test_a_structure_type_is_blind_to_elements_and_to_noise() -> None:
    cubic = prototype(_perovskite("Sr", "Ti", "O"))
    assert cubic.startswith("ABC3 221 ")
    assert prototype(_perovskite("Ba", "Zr", "S", edge=5.0, noise=0.004)) == cubic
    assert prototype(_layered(3.5)) != cubic
    halite = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    caesium = Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert prototype(halite) == "AB 225 a-b"
    assert prototype(caesium) == "AB 221 a-b"
