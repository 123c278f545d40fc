"""Moves in the local codes: valid codes, kept symmetry, other structures."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from agents.propose.local_moves import LocalMoves
from model.codes import CrystalCodes
from model.generator import Generator


@pytest.fixture(scope="module")
def base(shipped: Generator) -> CrystalCodes:
    rows = shipped.bank.rows("train")
    return shipped.bank.codes(int(rows[shipped.bank.n_species[rows] == 3][0]))


@pytest.fixture(scope="module")
def moves(shipped: Generator, base: CrystalCodes) -> LocalMoves:
    return LocalMoves(shipped.prior, shipped.bank, base, max_atoms=10)


def decoded(generator: Generator, codes: CrystalCodes) -> Counter[int]:
    return Counter(generator.decode_crystals([codes])[0].numbers.tolist())


def test_slots_say_which_atoms_are_of_one_species(shipped, base, moves):
    crystal = shipped.decode_crystals([base])[0]
    elements = [shipped.prior.element_of(token) for token in base.species]
    assert [elements[slot] for slot in moves.slots(base)] == crystal.numbers.tolist()


def test_exchanged_species_stand_on_each_others_sites(shipped, base, moves):
    rng = np.random.default_rng(0)
    before, slots = decoded(shipped, base), moves.slots(base)
    seen = set()
    for _ in range(12):
        codes = moves.exchange_species(base, rng)
        after = moves.slots(codes)
        changed = {int(s) for s in slots[after != slots]}
        assert len(changed) == 2
        one, other = changed
        assert set(after[slots == one]) == {other}
        assert set(after[slots == other]) == {one}
        assert [a[1:] for a in codes.local] == [a[1:] for a in base.local]
        assert sorted(decoded(shipped, codes).values()) == sorted(before.values())
        seen.add(frozenset(decoded(shipped, codes).items()))
    assert len(seen) > 1  # A and B change places, or the composition turns round


def test_two_swapped_sites_keep_the_composition(shipped, base, moves):
    rng = np.random.default_rng(1)
    for _ in range(8):
        codes = moves.swap_sites(base, rng)
        assert (moves.slots(codes) != moves.slots(base)).sum() == 2
        assert decoded(shipped, codes) == decoded(shipped, base)


def test_a_moved_coordinate_keeps_equal_codes_equal(moves, base):
    rng = np.random.default_rng(2)
    old = np.array(base.local)
    for _ in range(30):
        new = np.array(moves.move_coordinate(base, rng).local)
        assert (new[:, 0] == old[:, 0]).all()
        assert (new != old).any()
        for code in set(old[:, 1:].ravel().tolist()):
            assert len(set(new[:, 1:][old[:, 1:] == code].tolist())) == 1
        still = moves.coordinate[old[:, 1:]] % 1.0
        at_origin = np.minimum(still, 1 - still) < 0.02
        assert (new[:, 1:][at_origin] == old[:, 1:][at_origin]).all()


def test_opposite_coordinates_move_in_opposite_directions(moves):
    x = moves.coordinate
    quarter = int(np.argmin(np.abs(x - 0.25)))
    mirror = int(np.argmin(np.abs(x - (1 - x[quarter]))))
    zero = int(np.argmin(np.minimum(x, 1 - x)))
    local = ((0, zero, zero, zero), (1, quarter, zero, zero), (2, mirror, zero, zero))
    codes = CrystalCodes(((0,), (1,)), (0,), local)
    rng = np.random.default_rng(3)
    for _ in range(20):
        new = moves.move_coordinate(codes, rng)
        total = (x[new.local[1][1]] + x[new.local[2][1]]) % 1.0
        assert min(total, 1 - total) < 0.03


def test_every_move_gives_codes_that_decode(shipped, base, moves):
    drawn = shipped.prior.sample_global(base, 40, seed=0)
    moved = moves.vary(drawn, 1.0, np.random.default_rng(4))
    assert len(moved) == len(drawn)
    assert sum(a.local != b.local for a, b in zip(moved, drawn, strict=True)) > 20
    crystals = shipped.decode_crystals(moved)
    for codes, crystal in zip(moved, crystals, strict=True):
        assert codes.n_species == base.n_species
        assert len(crystal.numbers) == codes.n_atoms <= 10
        assert np.isfinite(crystal.frac).all()


def test_a_share_of_none_moves_nothing(shipped, base, moves):
    drawn = shipped.prior.sample_global(base, 10, seed=0)
    assert moves.vary(drawn, 0.0, np.random.default_rng(4)) == drawn


def test_a_polymorph_has_the_same_atoms_on_other_sites(shipped, base, moves):
    drawn = moves.redraw([base] * 6, seed=1)
    assert {codes.local for codes in drawn} != {base.local}
    for codes in drawn:
        assert decoded(shipped, codes) == decoded(shipped, base)
    assert moves.redraw([base] * 6, seed=1) == drawn


def test_a_transplanted_geometry_is_a_training_crystals(shipped, base, moves):
    rng = np.random.default_rng(5)
    known = {shipped.bank.codes(int(row)).local for row in moves.donors}
    for _ in range(5):
        codes = moves.transplant(base, rng)
        assert codes.local in known
        assert codes.species == base.species
