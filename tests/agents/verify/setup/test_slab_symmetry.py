"""Symmetrised cells of slabs against spglib's own, and which of them may have a dipole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import mx2
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from scipy.spatial.transform import Rotation

from agents.slab import area, thickness, vacuum, with_vacuum
from agents.verify.gpaw.backend import GPAWBackend
from agents.verify.identity import rounded_cell
from agents.verify.setup.symmetry import irreducible, mesh, symmetrise
from agents.verify.tasks import Task, options_of
from agents.verify.vasp import cost as vasp_cost
from agents.verify.vasp import settings as vasp
from model.data.canonical import Crystal, structure_from_arrays
from model.data.dataset import read_split


def layer(formula: str, kind: str, a: float, height: float, vacuum: float = 14.0) -> Structure:
    """A monolayer MX2 from ASE."""
    atoms = mx2(formula, kind=kind, a=a, thickness=height, vacuum=vacuum / 2)
    atoms.pbc = True
    return AseAtomsAdaptor.get_structure(atoms)


def read(crystal: Crystal) -> Structure | None:
    """A layer of C2DB."""
    return structure_from_arrays(crystal.numbers, crystal.frac, crystal.cell)[0]


def janus() -> Structure:
    """MoSSe: sulfur below, selenium above."""
    slab = layer("MoS2", "2H", 3.25, 3.23)
    slab.replace(2, "Se")
    return slab


def buckled() -> Structure:
    """Silicene: inversion."""
    return Structure(
        Lattice.hexagonal(3.87, 15.0), ["Si", "Si"], [[1 / 3, 2 / 3, 0.515], [2 / 3, 1 / 3, 0.485]]
    )


def twofold() -> Structure:
    """A layer of P2 with its axis in the plane: neither mirror nor inversion."""
    lattice = Lattice.from_parameters(4.1, 5.3, 16.0, 90, 90, 90)
    species, sites = ["Ti", "O", "O"], [[0, 0, 0.5], [0.21, 0.13, 0.56], [-0.21, 0.13, 0.44]]
    found = Structure(lattice, species, sites)  # two-fold about b through the origin
    found.append("Cl", [0.37, 0.61, 0.57])
    found.append("Cl", [-0.37, 0.61, 0.43])
    return found


@pytest.mark.parametrize(
    ("slab", "polar", "why"),
    [
        (layer("MoS2", "2H", 3.18, 3.13), False, "a mirror in the plane"),
        (janus(), True, "nothing turns it upside down"),
        (layer("CdI2", "1T", 4.33, 3.4), False, "inversion"),
        (buckled(), False, "inversion"),
        (twofold(), False, "a two-fold axis in the plane"),
    ],
)
def test_which_layers_may_have_a_dipole(slab: Structure, polar: bool, why: str) -> None:
    assert symmetrise(slab, 0.01, 0.1, 12.0).polar is polar, why
    upside = Structure(slab.lattice, slab.species, slab.frac_coords * [1, 1, -1])
    assert symmetrise(upside, 0.01, 0.1, 12.0).polar is polar


def test_noise_does_not_make_a_layer_polar() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, (3, 3))
    slab = layer("MoS2", "2H", 3.18, 3.13)
    moved = Structure(
        slab.lattice, slab.species, slab.cart_coords + noise, coords_are_cartesian=True
    )
    found = symmetrise(moved, 0.05, 0.1, 12.0)
    assert found.polar is False
    assert found.structure.lattice.a == pytest.approx(found.structure.lattice.b, abs=1e-9)
    z = found.structure.cart_coords[:, 2]
    assert z[0] == pytest.approx(0.5 * (z[1] + z[2]), abs=1e-9)  # Mo in the middle


def test_cells_of_c2db_are_as_symmetric_and_as_small_as_spglib_says(data_dir: Path) -> None:
    table = read_split("c2db", "test", data_dir=data_dir, limit=60)
    for crystal in table.crystals:
        slab = read(crystal)
        assert slab is not None
        found = symmetrise(slab, 0.01, 0.1, 12.0)
        expected = symmetrise(with_vacuum(slab, 15.0), 0.01, 0.1)  # as if it were a bulk crystal
        assert found.space_group == expected.space_group
        assert len(found.structure) == len(expected.structure)
        assert vacuum(found.structure) == pytest.approx(12.0)
        assert thickness(found.structure) == pytest.approx(thickness(slab), abs=0.05)
        share = len(found.structure) / len(slab)
        assert area(found.structure) == pytest.approx(area(slab) * share, rel=5e-3)
        assert found.structure.lattice.matrix[2, :2] == pytest.approx((0, 0), abs=1e-9)


def test_a_supercell_becomes_the_primitive_cell_in_the_plane() -> None:
    slab = janus()
    found = symmetrise(slab * (2, 3, 1), 0.01, 0.1, 12.0)
    assert len(found.structure) == 3
    assert found.structure.lattice.parameters == pytest.approx((3.25, 3.25, 15.23, 90, 90, 120))
    tall = Structure(Lattice.tetragonal(3.0, 15.0), ["Fe", "Se"], [[0, 0, 0.45], [0.5, 0.5, 0.55]])
    assert symmetrise(tall * (4, 1, 1), 0.01, 0.1, 10.5).structure.lattice.c == pytest.approx(12.0)


def test_the_identity_ignores_where_the_vacuum_is(data_dir: Path) -> None:
    table = read_split("c2db", "test", data_dir=data_dir, limit=30)
    for number, crystal in enumerate(table.crystals):
        slab = read(crystal)
        assert slab is not None
        moved = Structure(slab.lattice, slab.species, slab.frac_coords + np.array([0, 0, 0.77]))
        turn = Rotation.random(random_state=number).as_matrix()
        wide = with_vacuum(moved, 31.0)
        turned = Structure(Lattice(wide.lattice.matrix @ turn.T), wide.species, wide.frac_coords)
        cells = [symmetrise(one, 0.01, 0.1, 12.0).structure for one in (slab, turned)]
        assert rounded_cell(cells[0]) == rounded_cell(cells[1])


def test_moments_keep_an_antiferromagnet_in_its_cell() -> None:
    slab = Structure(Lattice.tetragonal(3.0, 16.0), ["Fe", "O"], [[0, 0, 0.5], [0.5, 0.5, 0.55]])
    double = slab * (2, 1, 1)
    double.add_site_property("magmom", [2.0, -2.0, 0.0, 0.0])
    found = symmetrise(double, 0.01, 0.1, 12.0).structure
    assert len(found) == 4
    assert sorted(found.site_properties["magmom"]) == [-2.0, 0.0, 0.0, 2.0]
    assert {s.specie.symbol for s, m in zip(found, found.site_properties["magmom"]) if m} == {"Fe"}
    assert len(symmetrise(slab * (2, 1, 1), 0.01, 0.1, 12.0).structure) == 2


def test_meshes_have_one_point_across_the_layer() -> None:
    cell = symmetrise(janus(), 0.01, 0.1, 12.0).structure
    assert mesh(cell, 3.5, flat=True) == (12, 12, 1)
    assert irreducible(cell, (12, 12, 1), 0.01) == 19
    oblong = Structure(Lattice.from_parameters(3.0, 9.0, 15.0, 90, 90, 90), ["C"], [[0, 0, 0.5]])
    assert mesh(oblong, 3.5, flat=True) == (8, 4, 1)


@pytest.mark.parametrize("gamma", [60.0, 120.0])
@pytest.mark.parametrize("edge", [2.46, 2.51, 3.18, 3.87, 4.33, 6.5])
@pytest.mark.parametrize("name", ["fast", "standard"])
def test_meshes_of_hexagonal_layers_hold_k_and_m(name: str, edge: float, gamma: float) -> None:
    lattice = Lattice.from_parameters(edge, edge * 1.0001, 15.0, 90, 90, gamma)
    cell = Structure(lattice, ["C"], [[0, 0, 0.5]])
    settings = GPAWBackend().settings(name)
    for density in [*settings.k_densities(1), *settings.k_densities(2)]:
        n, m, across = mesh(cell, density, flat=True)
        assert (n % 6, m - n, across) == (0, 0, 1)
        assert n >= density * cell.lattice.reciprocal_lattice.a - 0.01
    for points in (vasp.preset(name).k_points, vasp.preset(name).gap_k_points):
        n, m, across = vasp_cost.mesh(cell, points, flat=True)
        assert (n % 3, m - n, across) == (0, 0, 1)
        assert n >= vasp_cost.mesh(cell, points)[0]


@pytest.mark.parametrize("shape", [(3.0, 3.0, 90.0), (3.0, 4.0, 101.0), (3.0, 3.0, 110.0)])
def test_meshes_of_other_layers_are_as_dense_as_asked_for(
    shape: tuple[float, float, float],
) -> None:
    a, b, gamma = shape
    cell = Structure(Lattice.from_parameters(a, b, 15.0, 90, 90, gamma), ["C"], [[0, 0, 0.5]])
    lengths = cell.lattice.reciprocal_lattice.abc[:2]
    n, m = (2 * int(np.ceil(3.5 * length / 2)) for length in lengths)
    assert mesh(cell, 3.5, flat=True) == (n, m, 1)
    points = vasp.preset("standard").k_points
    assert vasp_cost.mesh(cell, points, flat=True)[:2] == vasp_cost.mesh(cell, points)[:2]


def test_the_rule_of_the_mesh_is_part_of_a_slabs_identity() -> None:
    assert options_of(Task.STATIC, {"vacuum": 12.0}) == {"gap": True, "vacuum": 12.0, "mesh": "K"}
    assert "mesh" not in options_of(Task.STATIC)
