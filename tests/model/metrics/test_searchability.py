"""Searchability: what the figures mean, on draws whose outcome is known."""

from __future__ import annotations

import numpy as np
import pytest

from model.codes import CrystalCodes
from model.generator import Generator
from model.metrics.bases import draw_bases
from model.metrics.searchability import (
    donors,
    evaluate_searchability,
    one_gene,
    searchability,
    uniform,
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
            draw_bases(generator, 8, 1), np.random.SeedSequence(1).generate_state(8).tolist()
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
    base = draw_bases(generator, 1, 0)[0]
    for draw in (donors(generator), uniform(generator), one_gene(generator)):
        drawn = draw(base, 10, 3)
        assert drawn == draw(base, 10, 3)
        assert drawn != draw(base, 10, 4)
        assert all(c.local == base.local for c in drawn)
    for codes in one_gene(generator)(base, 20, 0):
        assert sum(a != b for a, b in zip(codes.global_genes, base.global_genes)) == 1


def test_the_report_says_what_was_done(generator: Generator) -> None:
    report = evaluate_searchability(generator, n_bases=3, n_draws=4, seed=5)
    assert {"donors", "uniform", "one_gene"} <= set(report["ways"])
    assert (report["n_bases"], report["n_draws"], report["seed"]) == (3, 4, 5)
    assert 0.9 < report["charge_neutral_in_data"] <= 1.0
    with pytest.raises(ValueError, match="held-out"):
        draw_bases(generator, 10**6, 0)
