"""Band edges on a path are those of a model that can be solved by hand, and are where it says."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.bandstructure import HighSymmKpath

from agents.verify.gpaw.bands import path_record
from agents.verify.gpaw.spin_orbit import spinor_edges
from agents.verify.properties.band_path import band_edges, edges_between, high_symmetry_path

CUBIC = Structure(Lattice.cubic(4.0), ["Na"], [[0, 0, 0]])
DIAMOND = Structure.from_spacegroup(
    "Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]]
).get_primitive_structure()


def two_bands(points: np.ndarray, minimum: float) -> np.ndarray:
    """Valence band with its top at Γ, conduction band with its bottom at ky = minimum."""
    phases = 2 * np.pi * points
    valence = -1.0 + np.cos(phases).sum(axis=1) / 3
    conduction = 3.0 - np.cos(phases[:, [0, 2]]).sum(axis=1) / 3
    conduction -= np.cos(phases[:, 1] - 2 * np.pi * minimum) / 3
    return np.stack([valence, conduction], axis=1)[None]


def test_special_points_are_those_of_pymatgen() -> None:
    ours = high_symmetry_path(DIAMOND, density=5.0)
    theirs = HighSymmKpath(DIAMOND)
    assert theirs.kpath is not None
    matrix, other = DIAMOND.lattice.reciprocal_lattice, theirs.prim_rec
    for name, label in {"G": "\\Gamma", "X": "X", "L": "L", "W": "W", "K": "K"}.items():
        length = np.linalg.norm(np.array(ours.special[name]) @ matrix.matrix)
        expected = np.linalg.norm(np.array(theirs.kpath["kpoints"][label]) @ other.matrix)
        assert length == pytest.approx(expected, abs=1e-4), name
    assert ours.path.startswith("GX")


def test_distances_are_in_reciprocal_angstrom_and_do_not_count_jumps() -> None:
    path = high_symmetry_path(CUBIC, density=20.0)
    assert path.path == "GXMGRX,MR"
    edge = np.pi / 4.0
    total = edge * (1 + 1 + np.sqrt(2) + np.sqrt(3) + np.sqrt(2) + 1)
    assert path.distances[-1] == pytest.approx(total)
    assert len(path.points) == pytest.approx(20 * total, rel=0.1)


def test_points_are_named_or_placed_between_names() -> None:
    path = high_symmetry_path(CUBIC, density=20.0)
    assert path.locate(0) == {"k": [0.0, 0.0, 0.0], "label": "G"}
    along = next(n for n, point in enumerate(path.points) if point.max() > 0.24)
    name = path.locate(along)["label"]
    assert name == f"G-X {path.points[along].max() / 0.5:.2f}"


@pytest.mark.parametrize(("minimum", "direct"), [(0.0, True), (0.3, False)])
def test_edges_are_found_where_the_model_has_them(minimum: float, direct: bool) -> None:
    path = high_symmetry_path(CUBIC, density=60.0)
    eigenvalues = two_bands(path.points, minimum)
    found = path_record(path, eigenvalues, electrons=2.0, fermi_level=1.0)
    assert found["direct"] is direct
    assert found["top"]["label"] == "G"
    assert found["band_gap_path"] == pytest.approx(2.0, abs=1e-3)
    brute = eigenvalues[0, :, 1].min() - eigenvalues[0, :, 0].max()
    assert found["band_gap_path"] == pytest.approx(brute)
    assert found["direct_gap_path"] == pytest.approx(np.diff(eigenvalues[0]).min())
    assert found["zero"] == pytest.approx(0.0)
    assert np.shape(found["eigenvalues"]) == eigenvalues.shape
    if not direct:
        assert found["bottom"]["k"] == pytest.approx([0.0, minimum, 0.0], abs=0.01)
        assert found["bottom"]["label"].startswith("G-X 0.6")
        assert found["direct_gap_path"] > found["band_gap_path"] + 0.1


def test_metals_have_no_edges() -> None:
    path = high_symmetry_path(CUBIC, density=10.0)
    overlapping = two_bands(path.points, 0.0) - np.array([0.0, 2.5])
    found = path_record(path, overlapping, electrons=2.0, fermi_level=0.3)
    assert (found["is_metal"], found["band_gap_path"], found["direct"]) == (True, 0.0, False)
    assert (found["top"], found["zero"]) == (None, 0.3)
    half = two_bands(path.points, 0.0)
    assert band_edges(half, electrons=3.0, fermi_level=2.0) is None


def test_spin_channels_share_their_edges() -> None:
    path = high_symmetry_path(CUBIC, density=10.0)
    up = two_bands(path.points, 0.0)[0]
    both = np.stack([up, up + 0.4])  # the minority is higher: top and bottom are mixed
    found = band_edges(both, electrons=2.0, fermi_level=1.0)
    assert found is not None
    assert found.gap == pytest.approx(2.0 - 0.4)


def test_each_spinor_holds_one_electron() -> None:
    levels = np.array([[-1.0, -0.9, 0.5, 0.6], [-1.2, -1.1, 0.3, 0.7]])
    found = spinor_edges(levels, electrons=2.0)
    assert found is not None
    assert (found.gap, found.top, found.bottom) == (pytest.approx(1.2), 0, 1)
    assert found.direct is False
    assert spinor_edges(levels, electrons=1.5) is None


def test_equal_points_at_two_places_of_the_path_are_direct() -> None:
    tops, bottoms = np.array([0.0, -1.0, 0.0]), np.array([1.0 + 1e-9, 2.0, 1.0])
    assert edges_between(tops, bottoms).direct is True
