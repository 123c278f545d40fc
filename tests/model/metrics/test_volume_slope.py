"""The slope of the volume against the size of the atoms."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Element

from model.data.canonical import Crystal
from model.generator import Generator
from model.metrics.volume_slope import log_sphere_volumes, slope, volume_slope


def test_spheres_use_the_radii_of_pymatgen_and_skip_what_has_none() -> None:
    cell = np.array([4.0] * 3 + [90.0] * 3)
    salt = Crystal(np.array([11, 17]), np.zeros((2, 3)), cell)
    helium = Crystal(np.array([2, 17]), np.zeros((2, 3)), cell)
    found = log_sphere_volumes([salt, helium])
    radii = [float(Element(s).atomic_radius) for s in ("Na", "Cl")]
    assert found[0] == pytest.approx(np.log(sum(r**3 for r in radii)))
    assert Element("He").atomic_radius is None
    assert np.isnan(found[1])


def test_the_slope_is_that_of_least_squares() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=50)
    y = 0.4 * x + 0.1 * rng.normal(size=50)
    assert slope(x, y) == pytest.approx(np.polyfit(x, y, 1)[0])
    assert slope(np.append(x, np.nan), np.append(y, 1.0)) == pytest.approx(np.polyfit(x, y, 1)[0])
    assert slope(np.ones(3), np.arange(3.0)) is None


def test_swaps_change_one_species_and_are_counted(generator: Generator) -> None:
    result = volume_slope(generator, n_bases=10, n_draws=8)
    assert 0 < result["swaps"] <= 80
    assert -0.5 < result["slope"] < 1.5
    assert 0.1 < result["slope_in_data"] < 1.0
