"""Descriptors of decoded crystals, against pymatgen."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pymatgen.core import Element, Lattice, Structure

from model.data.geometry import cell_matrix
from model.networks.network import DecodedArrays
from model.property.descriptors import descriptors, n_descriptors

SHELLS = (0.6, 0.8, 0.9, 1.0, 1.1, 1.25, 1.4, 1.6)


def arrays(structure: Structure) -> DecodedArrays:
    cell = np.array([*structure.lattice.abc, *structure.lattice.angles])
    return np.array(structure.atomic_numbers), structure.frac_coords, cell


@pytest.fixture(scope="module")
def structures() -> list[Structure]:
    rng = np.random.default_rng(0)
    skewed = Lattice.from_parameters(8.1, 8.7, 12.3, 73, 108, 75)
    return [
        Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0] * 3, [0.5] * 3]),
        Structure(Lattice.cubic(2.87), ["Fe"], [[0, 0, 0]]),
        Structure(skewed, ["Sr", "Ti", "O", "O", "O"], rng.random((5, 3))),
        Structure(Lattice.hexagonal(4.92, 6.7), ["C"] * 4, rng.random((4, 3))),
    ]


def shells(structure: Structure) -> np.ndarray:
    """The bond shells by a loop over pymatgen's neighbours, (atoms, 3 x shells)."""
    radius = [float(site.specie.atomic_radius) for site in structure]
    counts = np.zeros((len(structure), 3, len(SHELLS)))
    for i, around in enumerate(structure.get_all_neighbors(1.9 * 2 * max(radius))):
        for near in around:
            scaled = near.nn_distance / (radius[i] + radius[near.index])
            if scaled >= 1.9:
                continue
            weight = np.exp(-(((scaled - np.array(SHELLS)) / 0.1) ** 2) / 2)
            contrast = near.specie.X - structure[i].specie.X
            counts[i] += [weight, weight * abs(contrast), weight * contrast]
    return np.log1p(np.abs(counts)).reshape(len(structure), -1)


def test_composition_density_and_shells_are_pymatgens(structures: list[Structure]) -> None:
    found = descriptors([arrays(s) for s in structures]).numpy()
    assert found.shape == (len(structures), n_descriptors())
    for row, structure in zip(found, structures):
        composition = structure.composition.fractional_composition
        expected = [composition[Element.from_Z(z)] for z in range(1, 101)]
        assert np.allclose(row[:100], expected, atol=1e-6)
        assert row[164] == pytest.approx(math.log(structure.volume / len(structure)), abs=1e-4)
        radii = sum(float(site.specie.atomic_radius) ** 3 for site in structure)
        assert row[165] == pytest.approx(math.log(radii / structure.volume), abs=1e-4)
        counted = shells(structure)
        assert np.allclose(row[166:190], counted.mean(0), atol=2e-3)
        assert np.allclose(row[190:], counted.std(0), atol=2e-3)


def test_statistics_order_elements_as_their_properties_do(structures: list[Structure]) -> None:
    """Columns 100 to 163: mean, mean absolute deviation, largest, smallest of 16 properties."""
    salt, iron = descriptors([arrays(s) for s in structures[:2]]).numpy()
    mean, deviation, largest, smallest = salt[100:164].reshape(4, 16)
    assert np.allclose(mean, (largest + smallest) / 2, atol=1e-6)  # as many Na as Cl
    assert np.allclose(deviation, (largest - smallest) / 2, atol=1e-6)
    known = np.array([Element.from_Z(z).X for z in range(1, 101)])
    known = np.where(np.isnan(known), np.nanmean(known), known)
    for value, symbol in ((smallest[0], "Na"), (largest[0], "Cl")):
        standard = (Element(symbol).X - known.mean()) / known.std(ddof=1)
        assert value == pytest.approx(standard, abs=1e-3)
    mean, deviation, largest, smallest = iron[100:164].reshape(4, 16)
    assert (deviation == 0).all()
    assert np.array_equal(largest, smallest)


def test_neither_cell_choice_nor_order_nor_company_matters(structures: list[Structure]) -> None:
    structure = structures[2]
    sheared = structure.lattice.matrix.copy()
    sheared[2] += 2 * sheared[0] - sheared[1]
    other = Structure(sheared, structure.species, structure.cart_coords, coords_are_cartesian=True)
    other = Structure.from_sites(list(other)[::-1])
    rotated = Lattice.from_parameters(*other.lattice.abc, *other.lattice.angles)
    other = Structure(rotated, other.species, other.frac_coords)
    alone = descriptors([arrays(structure)])[0]
    assert torch.allclose(descriptors([arrays(other)])[0], alone, atol=2e-3)
    together = descriptors([arrays(s) for s in structures])[2]
    assert torch.allclose(together, alone, atol=1e-5)


def test_what_cannot_be_a_crystal_still_gives_numbers() -> None:
    atoms = np.array([14, 14, 8])
    overlapping = atoms, np.zeros((3, 3)), np.array([3.0, 3, 3, 90, 90, 90])
    tiny = atoms, np.random.default_rng(0).random((3, 3)), np.array([1.0, 1, 1, 90, 90, 90])
    flat = atoms, np.random.default_rng(1).random((3, 3)), np.array([3.0, 3, 3, 60, 60, 119.999])
    impossible = atoms, np.zeros((3, 3)), np.array([3.0, 3, 3, 30, 30, 100])
    assert cell_matrix(torch.tensor(impossible[2])[None]).isfinite().all()
    found = descriptors([overlapping, tiny, flat, impossible])
    assert found.isfinite().all()
    assert descriptors([]).shape == (0, n_descriptors())
