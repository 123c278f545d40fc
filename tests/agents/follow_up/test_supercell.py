"""Supercells hold the zone boundary, and q-points have the names that the field gives them."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from pymatgen.core import Lattice, Structure

from agents.follow_up.supercell import (
    SupercellTooLarge,
    choose_supercell,
    commensurate,
    irreducible,
    labels,
)
from agents.relax.calculator import structure_from_atoms
from tests.agents.follow_up.conftest import perovskite, primitive

SALT = primitive("Fm-3m", 5.69, ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def widths(structure: Structure, repeats: tuple[int, int, int]) -> list[float]:
    """Distances between opposite faces, from volumes and areas."""
    a, b, c = np.array(structure.lattice.matrix) * np.array(repeats)[:, None]
    volume = abs(np.dot(a, np.cross(b, c)))
    return [volume / np.linalg.norm(np.cross(*pair)) for pair in ((b, c), (c, a), (a, b))]


def test_supercells_are_wide_even_and_affordable() -> None:
    assert choose_supercell(SALT, 9.0, 160) == (4, 4, 4)
    assert min(widths(SALT, (4, 4, 4))) > 9.0 > min(widths(SALT, (2, 2, 2)))
    cubic = perovskite("Sr", "Ti", 3.945)
    assert choose_supercell(cubic, 9.0, 160) == (2, 2, 2)  # (4, 4, 4) has 320 atoms
    assert choose_supercell(cubic, 9.0, 320) == (4, 4, 4)


def test_long_cells_are_not_repeated_along_their_length() -> None:
    long = Structure(Lattice.tetragonal(4.0, 14.0), ["Na"] * 20, np.random.rand(20, 3))
    assert choose_supercell(long, 9.0, 160) == (2, 2, 2)
    assert choose_supercell(long, 9.0, 100) == (2, 2, 1)
    assert choose_supercell(long, 9.0, 20) == (1, 1, 1)
    with pytest.raises(SupercellTooLarge, match="more than supercell_atoms = 19"):
        choose_supercell(long, 9.0, 19)


def test_commensurate_waves_repeat_with_the_supercell() -> None:
    repeats = (4, 2, 1)
    points = commensurate(repeats)
    assert len({tuple(point) for point in points}) == 8
    assert points[0] == pytest.approx(0)
    assert (points > -0.5).all()
    assert (points <= 0.5).all()
    phases = np.exp(2j * np.pi * points * np.array(repeats))
    assert np.allclose(phases, 1)


def test_names_of_special_points_are_ases() -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.69)
    special = atoms.cell.bandpath().special_points
    structure = structure_from_atoms(atoms)
    for name in ("G", "X", "L", "W"):
        rotated = special[name][[1, 2, 0]]  # the threefold axis of the primitive cell
        assert labels(structure, [special[name], rotated, special[name] + 1]) == [name] * 3
    assert labels(structure, [np.array([0.1, 0.2, 0.3])]) == [None]


def test_points_that_symmetry_makes_equal_are_kept_once() -> None:
    names = labels(SALT, list(irreducible(SALT, commensurate((2, 2, 2)))))
    assert sorted(str(name) for name in names) == ["G", "L", "X"]
    # 64 points of the face-centred lattice: Γ, X, L, W, and the middles of Γ-X, Γ-L, Γ-K and L-K
    assert len(irreducible(SALT, commensurate((4, 4, 4)))) == 8
