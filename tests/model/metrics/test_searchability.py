"""Searchability: what the figures mean, on draws whose outcome is known."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Element

from model.codes import CrystalCodes
from model.data.canonical import Crystal
from model.generator import Generator
from model.metrics.searchability import (
    bases,
    donors,
    evaluate_searchability,
    log_sphere_volumes,
    one_gene,
    searchability,
    slope,
    uniform,
    volume_slope,
)


def test_draws_that_change_nothing_are_seen_as_such(generator: Generator) -> None:
    def nothing(base: CrystalCodes, n: int, seed: int) -> list[CrystalCodes]:
        return [base] * n

    result = searchability(generator, nothing, n_bases=6, n_draws=5)
    assert result["bases_ignoring_globals"] == 6
    assert result["distinct_compositions"] == result["distinct_compositions_min"] == 1
    assert result["composition_differs"] == result["changed"] == 0


def test_donors_steer_every_base(generator: Generator) -> None:
    result = searchability(generator, donors(generator), n_bases=8, n_draws=16, seed=1)
    codes = [
        c
        for base, seed in zip(
            bases(generator, 8, 1), np.random.SeedSequence(1).generate_state(8).tolist()
        )
        for c in donors(generator)(base, 16, seed)
    ]
    structures = [d.structure for d in generator.decode(codes)]
    groups = [structures[i : i + 16] for i in range(0, len(structures), 16)]
    distinct = [len({s.composition.formula for s in group if s}) for group in groups]
    assert result["distinct_compositions"] == np.mean(distinct)
    assert result["distinct_compositions_min"] == min(distinct)
    assert result["bases_ignoring_globals"] == 0
    assert result["min_distance_above_0.5"] == 1.0


def test_draws_keep_the_local_codes_and_come_from_the_seed(generator: Generator) -> None:
    base = bases(generator, 1, 0)[0]
    for draw in (donors(generator), uniform(generator), one_gene(generator)):
        drawn = draw(base, 10, 3)
        assert drawn == draw(base, 10, 3)
        assert drawn != draw(base, 10, 4)
        assert all(c.local == base.local for c in drawn)
    for codes in one_gene(generator)(base, 20, 0):
        assert sum(a != b for a, b in zip(codes.global_genes, base.global_genes)) == 1


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


def test_the_report_says_what_was_done(generator: Generator) -> None:
    report = evaluate_searchability(generator, n_bases=3, n_draws=4, seed=5)
    assert {"donors", "uniform", "one_gene"} <= set(report["ways"])
    assert (report["n_bases"], report["n_draws"], report["seed"]) == (3, 4, 5)
    assert 0.9 < report["charge_neutral_in_data"] <= 1.0
    with pytest.raises(ValueError, match="held-out"):
        bases(generator, 10**6, 0)
