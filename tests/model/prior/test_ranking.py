"""Groups of like crystals, found without matching them pairwise."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from model.data.canonical import Crystal, crystal_from_structure
from model.prior.ranking import distance_profiles, ranked


def rocksalt(a: float) -> Structure:
    """The primitive cell of NaCl."""
    lattice = Lattice.from_parameters(*[a / np.sqrt(2)] * 3, 60, 60, 60)
    return Structure(lattice, ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def cesium_chloride(a: float) -> Structure:
    """The cubic cell of CsCl's type with the atoms of NaCl."""
    return Structure(Lattice.cubic(a), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def test_profiles_know_neither_scale_nor_cell_nor_order():
    one = rocksalt(5.6)
    skewed = Structure.from_sites(one.sites)
    skewed.make_supercell([[1, 1, 0], [0, 1, 0], [0, 0, 1]])
    turned = Structure(
        Lattice(one.lattice.matrix * 1.3), ["Cl", "Na"], [[0.7, 0.1, 0.2], [0.2, 0.6, 0.7]]
    )
    crystals = [crystal_from_structure(s) for s in (one, skewed, turned, cesium_chloride(3.4))]
    profiles = distance_profiles(crystals)
    assert np.allclose(profiles[:3], profiles[0], atol=1e-5)
    # NaCl: nearest Na-Cl a/2 at V/N = a^3/8 → 1; nearest Na-Na a/sqrt(2) → sqrt(2).
    assert sorted(profiles[0]) == pytest.approx([1, 2**0.5, 2**0.5], abs=1e-5)
    assert np.abs(profiles[3] - profiles[0]).mean() > 0.05


def test_an_impossible_cell_has_no_profile():
    good = crystal_from_structure(rocksalt(5.6))
    flat = Crystal(good.numbers, good.frac, np.array([4, 4, 4, 120, 120, 120.0]))
    profiles = distance_profiles([flat, good])
    assert np.isnan(profiles[0]).all()
    assert np.isfinite(profiles[1]).all()


def test_the_largest_group_comes_first_and_every_group_once_before_repeats():
    profiles = np.array([[1.0], [2.0], [1.01], [3.0], [2.01], [2.02]])
    nats = np.array([-1.0, -9.0, -2.0, -0.5, -8.0, -7.0])
    order = ranked(profiles, nats)
    assert order[:3] == [5, 0, 3]  # three near 2, two near 1, one at 3; the likeliest of each
    assert order[3:] == [2, 4, 1]  # the rest by likelihood


def test_crystals_without_a_cell_are_alone():
    profiles = np.array([[np.nan], [np.nan], [1.0], [1.0]])
    assert ranked(profiles, np.array([0.0, -1.0, -5.0, -4.0])) == [3, 0, 1, 2]
