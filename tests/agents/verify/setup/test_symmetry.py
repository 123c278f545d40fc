"""Symmetrised cells against the crystals they were rattled from."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from agents.verify.setup.symmetry import displacement, irreducible, mesh, symmetrise


def perovskite() -> Structure:
    sites = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    return Structure(Lattice.cubic(3.945), ["Sr", "Ti", "O", "O", "O"], sites)


def test_noise_of_a_relaxation_is_removed() -> None:
    rattled = perovskite()
    rattled.perturb(0.01)
    assert rattled.get_space_group_info(symprec=1e-3)[1] == 1
    ideal = symmetrise(rattled, symprec=0.05, max_displacement=0.1)
    assert ideal.space_group == 221
    assert 0 < ideal.max_displacement < 0.05


def test_a_real_distortion_survives() -> None:
    polar = perovskite()
    polar.translate_sites([1], [0, 0, 0.2 / 3.945], frac_coords=True)
    ideal = symmetrise(polar, symprec=0.05, max_displacement=0.1)
    assert ideal.space_group == 99


def test_tolerance_is_lowered_until_atoms_stay() -> None:
    polar = perovskite()
    polar.translate_sites([1], [0, 0, 0.15 / 3.945], frac_coords=True)
    ideal = symmetrise(polar, symprec=0.5, max_displacement=0.02)
    assert ideal.space_group == 99
    assert ideal.symprec == pytest.approx(0.05)


def test_supercell_becomes_primitive() -> None:
    cell = perovskite()
    cell.make_supercell([2, 1, 1])
    assert len(symmetrise(cell, 0.05, 0.1).structure) == 5


def test_mesh_is_even_and_dense_enough() -> None:
    cell = perovskite()
    size = mesh(cell, 3.5)
    assert size == (6, 6, 6)
    spacing = np.array(cell.lattice.reciprocal_lattice.abc) / size
    assert (spacing <= 1 / 3.5).all()
    assert irreducible(cell, size, 0.05) == 20  # what GPAW counts for Pm-3m


def antiphase(shift: float) -> Structure:
    """Two cubic cells, titanium shifted along c by opposite amounts (Å)."""
    cell = perovskite()
    cell.make_supercell([1, 1, 2])
    titanium = [n for n, site in enumerate(cell) if site.specie.symbol == "Ti"]
    for sign, number in zip((1, -1), titanium, strict=True):
        cell.translate_sites([number], cell.lattice.get_fractional_coords([0, 0, sign * shift]))
    return cell


def test_distortion_that_doubles_the_cell_is_measured() -> None:
    assert displacement(antiphase(0.0), perovskite()) == pytest.approx(0.0, abs=1e-4)
    assert displacement(antiphase(0.1), perovskite()) == pytest.approx(0.1, abs=0.01)
    assert len(symmetrise(antiphase(0.1), 0.05, 0.1).structure) == 10
    assert len(symmetrise(antiphase(0.1), 0.5, 0.02).structure) == 10


def test_an_antiferromagnet_keeps_its_cell_and_its_moments() -> None:
    salt = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.44), ["Mn", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    ).get_primitive_structure()
    doubled = salt.make_supercell([[0, 1, 1], [1, 0, 1], [1, 1, 0]], in_place=False)
    assert len(symmetrise(doubled, 0.05, 0.1).structure) == 2
    signs = [5.0, -5.0]
    moments = [signs.pop() if site.specie.symbol == "Mn" else 0.0 for site in doubled]
    ordered = doubled.copy(site_properties={"magmom": moments})
    ideal = symmetrise(ordered, 0.05, 0.1)
    assert len(ideal.structure) == 4
    assert ideal.space_group == 166
    assert min(ideal.structure.lattice.angles) > 50  # the standard rhombohedron has 34
    by_moment = sorted(ideal.structure.site_properties["magmom"])
    assert by_moment == [-5.0, 0.0, 0.0, 5.0]
    shortest = ideal.structure.copy()
    shortest.remove_species(["O"])
    distances = shortest.get_neighbor_list(3.5)  # 12 neighbours, half of them of the other kind
    moments_of = np.array(shortest.site_properties["magmom"])
    assert (moments_of[distances[0]] * moments_of[distances[1]] < 0).mean() == 0.5
    flipped = doubled.copy(site_properties={"magmom": [abs(moment) for moment in moments]})
    assert len(symmetrise(flipped, 0.05, 0.1).structure) == 2


def test_a_reduced_cell_gets_a_mesh_that_its_symmetry_folds() -> None:
    """A rhombohedron of 34 degrees, reduced: axes of different length that rotations mix."""
    sharp = Structure(Lattice.rhombohedral(5.44, 33.56), ["Mn"], [[0, 0, 0]])
    cell = symmetrise(sharp, 0.01, 0.1).structure
    assert len({round(length, 3) for length in cell.lattice.abc}) > 1
    size = mesh(cell, 3.5)
    assert len(set(size)) == 1
    lengths = cell.lattice.reciprocal_lattice.abc
    uneven = tuple(2 * int(np.ceil(3.5 * length / 2)) for length in lengths)
    assert irreducible(cell, size, 0.01) < irreducible(cell, uneven, 0.01) / 2
    steps = np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T
    periods = np.linalg.norm((steps * size[0]) @ cell.lattice.matrix, axis=1)
    assert periods[periods > 0].min() >= 2 * np.pi * 3.5


def test_atoms_on_top_of_each_other_are_refused_before_spglib_crashes() -> None:
    """Each of these three kinds ends a process that gives it to spglib, or is no crystal."""
    source = np.random.default_rng(1)
    crowd = Structure(source.random((3, 3)), ["Ti"] * 20, source.random((20, 3)))
    twins = Structure(Lattice.cubic(4.0), ["Na", "Cl"], [[0, 0, 0], [0.01, 0, 0]])
    thin = Structure(Lattice.from_parameters(0.3, 5, 5, 90, 90, 90), ["Na"], [[0, 0, 0]])
    for structure in (crowd, twins, thin):
        with pytest.raises(ValueError, match="atoms closer than"):
            symmetrise(structure, 0.1, 0.2)
