"""Matching: the published tolerances, the strict ones, and the same answer in parallel."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from model.data.canonical import Crystal, structure_from_arrays
from model.metrics import matching
from model.metrics.matching import Match, match, match_all

_RUTILE = Crystal(
    numbers=np.array([22, 22, 8, 8, 8, 8]),
    frac=np.array(
        [
            [0.0, 0.0, 0.0],
            [0.5, 0.5, 0.5],
            [0.305, 0.305, 0.0],
            [0.695, 0.695, 0.0],
            [0.195, 0.805, 0.5],
            [0.805, 0.195, 0.5],
        ]
    ),
    cell=np.array([4.653, 4.653, 2.969, 90.0, 90.0, 90.0]),
)


def _moved(sigma: float, seed: int = 0) -> Crystal:
    noise = np.random.default_rng(seed).normal(0, sigma, _RUTILE.frac.shape)
    return Crystal(_RUTILE.numbers, _RUTILE.frac + noise, _RUTILE.cell)


def test_distances_are_those_of_pymatgen_at_both_tolerances() -> None:
    decoded = _moved(0.01)
    one = structure_from_arrays(decoded.numbers, decoded.frac, decoded.cell)[0]
    other = structure_from_arrays(_RUTILE.numbers, _RUTILE.frac, _RUTILE.cell)[0]
    found = match(decoded, _RUTILE)
    loose = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10).get_rms_dist(one, other)
    strict = StructureMatcher().get_rms_dist(one, other)
    assert loose is not None
    assert strict is not None
    assert found.rms == pytest.approx(loose[0])
    assert found.rms_strict == pytest.approx(strict[0])


def test_rms_in_angstrom_is_the_displacement_of_the_atoms() -> None:
    lattice = Lattice.cubic(4.0)
    moved = Crystal(
        np.array([55, 17]),
        np.array([[0, 0, 0], [0.55, 0.5, 0.5]]),
        np.array([4.0] * 3 + [90.0] * 3),
    )
    truth = Crystal(moved.numbers, np.array([[0, 0, 0], [0.5, 0.5, 0.5]]), moved.cell)
    found = match(moved, truth)
    # Half of the 0.2 Å goes to each atom once the common shift is taken off.
    assert found.rms_angstrom == pytest.approx(0.1, rel=0.02)
    assert found.rms == pytest.approx(0.1 / (lattice.volume / 2) ** (1 / 3), rel=0.02)


def test_a_coarse_copy_matches_only_loosely() -> None:
    cell = Structure.from_spacegroup("Pm-3m", Lattice.cubic(4), ["Cs", "Cl"], [[0] * 3, [0.5] * 3])
    far = Crystal(
        np.array(cell.atomic_numbers),
        np.asarray(cell.frac_coords) + np.array([[0.0], [0.3]]),
        np.array([4.0] * 3 + [90.0] * 3),
    )
    truth = Crystal(far.numbers, np.asarray(cell.frac_coords), far.cell)
    found = match(far, truth)
    assert found.rms is not None
    assert found.rms > 0.3
    assert found.rms_strict is None


def test_other_atoms_and_impossible_cells_do_not_match() -> None:
    other = Crystal(np.array([40, 40, 8, 8, 8, 8]), _RUTILE.frac, _RUTILE.cell)
    assert match(other, _RUTILE) == Match()
    impossible = Crystal(_RUTILE.numbers, _RUTILE.frac, np.array([4, 4, 4, 20, 20, 160.0]))
    assert match(impossible, _RUTILE) == Match()


def test_processes_give_what_one_process_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "_FEW", 10)
    decoded = [_moved(0.02, seed) for seed in range(12)]
    truths = [_RUTILE] * len(decoded)
    assert match_all(decoded, truths, jobs=2) == match_all(decoded, truths)
    with pytest.raises(ValueError, match="paired"):
        match_all(decoded, truths[1:])
