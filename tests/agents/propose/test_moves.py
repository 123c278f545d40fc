"""Moves in the global codes keep tokens whole and in their place."""

from __future__ import annotations

import numpy as np
import pytest

from agents.propose.moves import Variation, token_of_gene, vary
from model.codes import CrystalCodes

LOCAL = ((0, 1, 2, 3), (1, 4, 5, 6))


def crystal(value: int) -> CrystalCodes:
    """Codes whose genes all say which crystal they come from."""
    base = CrystalCodes(((0, 0), (0, 0), (0, 0)), (0,) * 4, LOCAL)
    return base.with_global_genes([value] * 10)


PARENTS = [crystal(1), crystal(2)]
SOURCES = [np.full((5, 10), 7), np.full((3, 10), 8)]


def tokens(codes: CrystalCodes) -> list[set[int]]:
    return [set(token) for token in (*codes.species, codes.crystal)]


def children(n: int = 400, **chances: float) -> list[CrystalCodes]:
    variation = Variation(**{"crossover": 0.0, "token": 0.0, "crystal": 0.0} | chances)
    made = vary(PARENTS, SOURCES, n, variation, np.random.default_rng(0))
    return [child.codes for child in made]


def test_genes_of_a_token_belong_together():
    assert token_of_gene(crystal(0)).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 3, 3]
    assert token_of_gene(crystal(0), whole_tokens=False).tolist() == list(range(10))


def test_tokens_are_exchanged_whole_and_local_codes_stay():
    for child in children(crossover=0.7, token=0.4, crystal=0.3):
        assert all(len(values) == 1 for values in tokens(child))
        assert child.local == LOCAL


def test_levels_are_exchanged_singly_where_tokens_are_not_whole():
    variation = Variation(0.7, 0.4, 0.3, whole_tokens=False)
    made = vary(PARENTS, SOURCES, 100, variation, np.random.default_rng(0))
    assert any(len(values) > 1 for child in made for values in tokens(child.codes))


def test_crossover_takes_half_of_the_tokens_from_the_second_parent():
    made = children(4000, crossover=1.0)
    mixed = [c for c in made if {1, 2} <= set(c.global_genes)]
    assert not any({7, 8} & set(c.global_genes) for c in mixed)
    share = np.mean([[v == {1} for v in tokens(c)] for c in mixed])
    assert share == pytest.approx(0.5, abs=0.03)


def test_chances_are_those_of_the_settings():
    made = children(4000, token=0.3, crystal=0.1)
    new = np.array([[bool(v & {7, 8}) for v in tokens(c)] for c in made])
    forced = 0.7**3 * 0.9 / 4  # a child nothing happened to gets one token all the same
    assert new[:, :3].mean() == pytest.approx(0.3 + forced, abs=0.02)
    assert new[:, 3].mean() == pytest.approx(0.1 + forced, abs=0.02)
    origin = np.array([[max(v) for v in tokens(c)] for c in made])
    assert (origin == 7).sum() == pytest.approx((origin == 8).sum(), rel=0.1)


def test_every_child_was_attempted_to_change():
    assert all({7, 8} & set(child.global_genes) for child in children())


def test_equal_seeds_give_equal_children():
    assert children(token=0.5) == children(token=0.5)
