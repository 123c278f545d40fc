"""Crystals as they are drawn: every atom, every bond, in few traces."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from pymatgen.analysis.local_env import JmolNN
from pymatgen.core import Lattice, Structure

from discovery.dashboard.structure_view import BALL, bonded, draw_structure, drawn_atoms


def titanate() -> Structure:
    places = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
    return Structure.from_spacegroup("Pm-3m", Lattice.cubic(3.9), ["Sr", "Ti", "O"], places)


def test_atoms_on_faces_are_drawn_on_both() -> None:
    drawn = drawn_atoms(titanate())
    # eight corners, the centre, six faces
    assert len(drawn.sites) == 15
    assert (~drawn.images).sum() == 5
    assert drawn.coordinates.min() == pytest.approx(0)
    assert drawn.coordinates.max() == pytest.approx(3.9)


def test_atoms_just_before_a_face_are_those_of_the_next_cell() -> None:
    crystal = Structure(Lattice.cubic(4), ["Na"], [[0.9999, -0.0001, 0.5]])
    drawn = drawn_atoms(crystal)
    assert len(drawn.sites) == 4
    assert sorted(np.round(drawn.coordinates[:, 0] / 4)) == [0, 0, 1, 1]


def test_bonds_are_those_of_jmols_rule() -> None:
    rule = JmolNN()
    crystal = Structure.from_spacegroup(
        "F-43m", Lattice.cubic(5.65), ["Ga", "As"], [[0, 0, 0], [0.25, 0.25, 0.25]]
    )
    crystal.perturb(0.1)
    drawn = drawn_atoms(crystal)
    symbols = [crystal[int(number)].specie.symbol for number in drawn.sites]
    expected = {
        (one, other)
        for one, other in combinations(range(len(symbols)), 2)
        if np.linalg.norm(drawn.coordinates[one] - drawn.coordinates[other])
        <= rule.get_max_bond_distance(symbols[one], symbols[other])
    }
    found = {tuple(sorted(map(int, pair))) for pair in bonded(crystal, drawn)}
    assert found == expected
    assert len(found) >= 8


def test_balls_are_whole_and_seen_from_outside() -> None:
    figure = draw_structure(titanate())
    meshes = {trace.name: trace for trace in figure.data if trace.type == "mesh3d"}
    assert list(meshes) == ["O", "Sr", "Ti"]
    for symbol, balls in (("O", 6), ("Sr", 8), ("Ti", 1)):
        mesh = meshes[symbol]
        points = np.stack([mesh.x, mesh.y, mesh.z], axis=1).astype(float)
        corners = [points[np.asarray(index)] for index in (mesh.i, mesh.j, mesh.k)]
        volume = np.einsum("ij,ij->", corners[0], np.cross(corners[1], corners[2])) / 6
        radius = BALL * JmolNN().el_radius[symbol]
        assert volume == pytest.approx(balls * 4 / 3 * np.pi * radius**3, rel=0.08)


def test_several_hundred_atoms_take_no_more_traces() -> None:
    small, large = draw_structure(titanate()), draw_structure(titanate() * (4, 4, 4))
    assert len(large.data) == len(small.data) == 5
    assert len(large.to_json()) < 4e6


def test_symbols_stand_on_the_atoms_of_a_small_cell() -> None:
    labels = draw_structure(titanate()).layout.scene.annotations
    assert sorted(one.text for one in labels) == ["<b>O</b>"] * 3 + ["<b>Sr</b>", "<b>Ti</b>"]
    assert not draw_structure(titanate() * (3, 3, 3)).layout.scene.annotations
