"""One layer or not: C2DB against bulk crystals, stacks, chains and clusters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import mx2
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from agents.screen.dimensionality import judge_layer, layer_score
from agents.screen.settings import ScreenSettings
from agents.screen.validity import judge
from agents.slab import vacuum, with_vacuum
from model.data.canonical import structure_from_arrays
from model.data.dataset import read_split


def mos2(space: float = 15.0) -> Structure:
    """A monolayer of MoS2."""
    atoms = mx2("MoS2", kind="2H", a=3.18, thickness=3.13, vacuum=space / 2)
    atoms.pbc = True
    return AseAtomsAdaptor.get_structure(atoms)


def stacked(layer: Structure, distance: float, space: float) -> Structure:
    """Two layers of MoS2, so far apart (Å), above them a vacuum."""
    height = 3.13 + distance
    cell = layer.lattice.matrix.copy()
    cell[2, 2] = 2 * height - distance + space
    sites = np.vstack([layer.cart_coords, layer.cart_coords + np.array([0, 0, height])])
    return Structure(Lattice(cell), layer.species * 2, sites, coords_are_cartesian=True)


def read(folder: Path, name: str, limit: int) -> list[Structure]:
    table = read_split(name, "test", data_dir=folder, limit=limit)
    return [structure_from_arrays(c.numbers, c.frac, c.cell)[0] for c in table.crystals]


def test_a_monolayer_is_a_layer_whatever_its_vacuum() -> None:
    for space in (10.5, 15.0, 40.0):
        found = judge_layer(mos2(space))
        assert found.reason is None
        assert found.network == "2D"
        assert found.components == (0, 0, 1, 0)
        assert found.score == pytest.approx(layer_score(mos2())[0])
        assert found.vacuum == pytest.approx(space)
    assert found.score is not None
    assert found.score > 0.9


def test_two_layers_are_not_one() -> None:
    found = judge_layer(stacked(mos2(), 3.6, 15.0))
    assert found.reason is not None
    assert found.reason.startswith("separate layers (2D)")
    assert found.components == (0, 0, 2, 0)


def test_what_passes_by_a_longer_bond_only_says_so() -> None:
    def planes(distance: float) -> Structure:
        heights = [10.0 / (20.0 + distance), (10.0 + distance) / (20.0 + distance)]
        sites = [[0.0, 0.0, heights[0]], [0.5, 0.5, heights[1]]]
        return Structure(Lattice.tetragonal(4.5, 20.0 + distance), ["Cs", "Cs"], sites)

    apart = judge_layer(planes(5.0))
    assert (apart.reason, apart.components, apart.loosely) == (None, (0, 0, 2, 0), True)
    assert apart.record()["loosely"] is True
    near = judge_layer(planes(4.0))
    assert (near.reason, near.components, near.loosely) == (None, (0, 0, 1, 0), False)


def test_a_stack_that_closes_through_the_vacuum_is_none() -> None:
    found = judge_layer(stacked(mos2(), 3.0, 3.0))
    assert found.reason == "no vacuum: the widest gap along c is 3.00 Å, a slab has 10"
    assert found.score is None


def test_chains_and_clusters_are_none() -> None:
    cell = Lattice.orthorhombic(4.0, 12.0, 15.0)
    chain = Structure(cell, ["Se", "Se"], [[0.0, 0.5, 0.5], [0.5, 0.55, 0.55]])
    assert judge_layer(chain).reason is not None
    assert "chains (1D)" in str(judge_layer(chain).reason)
    molecule = Structure(Lattice.cubic(15.0), ["N", "N"], [[0.5, 0.5, 0.5], [0.5, 0.5, 0.573]])
    assert "clusters (0D)" in str(judge_layer(molecule).reason)
    both = mos2(25.0) * (3, 3, 1)
    both.append(
        "Xe", both.cart_coords.max(axis=0) + np.array([0, 0, 6.0]), coords_are_cartesian=True
    )
    assert "02D" in str(judge_layer(both).reason)


def test_c2db_passes_and_bulk_crystals_do_not(data_dir: Path) -> None:
    layers = [judge_layer(one) for one in read(data_dir, "c2db", 250)]
    passed = [one for one in layers if one.reason is None]
    assert len(passed) == 247
    assert 0 < sum(bool(one.loosely) for one in passed) < 0.1 * len(passed)
    bulk = [judge_layer(one) for one in read(data_dir, "mp20", 600)]
    assert sum(one.reason is None for one in bulk) == 0
    assert {str(one.reason).split(":")[0].split(" (")[0] for one in bulk} == {
        "no vacuum",
        "separate layers",  # of the few slabs that the Materials Project has
    }


def test_the_rule_is_applied_where_a_campaign_is_two_dimensional() -> None:
    nacl = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    assert judge(nacl, ScreenSettings()).valid
    assert judge(nacl, ScreenSettings()).layer is None
    found = judge(nacl, ScreenSettings(dimensionality=2))
    assert found.failed == ("dimensionality",)
    assert found.record()["layer"]["vacuum"] == pytest.approx(5.69 / 2)
    assert judge(mos2(), ScreenSettings(dimensionality=2)).valid
    near = stacked(mos2(), 3.0, 15.0)  # S over S at 3 Å: almost a bond
    assert judge(near, ScreenSettings(dimensionality=2)).valid
    strict = ScreenSettings(dimensionality=2, min_layer_score=0.2)
    assert judge(near, strict).failed == ("dimensionality",)


def test_a_tilted_cell_is_judged_by_its_height() -> None:
    slab = with_vacuum(mos2(), 11.0)
    cell = slab.lattice.matrix.copy()
    cell[2] += 5.0 * cell[0]
    tilted = Structure(Lattice(cell), slab.species, slab.cart_coords, coords_are_cartesian=True)
    assert vacuum(tilted) == pytest.approx(11.0)
    assert judge_layer(tilted).score == pytest.approx(judge_layer(slab).score)
