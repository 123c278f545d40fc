"""Slabs in a cell: vacuum, thickness, and one vacuum for all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import mx2
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from scipy.spatial.transform import Rotation

from agents.slab import NoSlab, area, is_slab_like, thickness, vacuum, with_vacuum


def mos2(space: float = 15.0) -> Structure:
    """MoS2: thickness 3.19 Å, from ASE."""
    atoms = mx2("MoS2", kind="2H", a=3.18, thickness=3.19, vacuum=space / 2)
    atoms.pbc = True
    return AseAtomsAdaptor.get_structure(atoms)


def distances(structure: Structure, reach: float = 6.0) -> np.ndarray:
    """All distances up to `reach`, sorted, with images."""
    return np.sort(
        np.concatenate(
            [[n.nn_distance for n in structure.get_neighbors(s, reach)] for s in structure]
        )
    )


def disguised(structure: Structure, seed: int) -> Structure:
    """The same slab: turned, shifted through the cell edge, mirrored handedness, c tilted."""
    rng = np.random.default_rng(seed)
    turn = Rotation.random(random_state=seed).as_matrix()
    matrix = structure.lattice.matrix.copy()
    cartesian = structure.cart_coords
    matrix[2] += matrix[:2].T @ rng.integers(-1, 2, 2) + rng.uniform(-2, 2) * matrix[0] / 3
    lattice = Lattice(matrix @ turn.T)
    fractional = lattice.get_fractional_coords(cartesian @ turn.T) + rng.uniform(-3, 3, 3)
    return Structure(lattice, structure.species, fractional)


def test_mos2_has_the_vacuum_and_thickness_it_was_built_with() -> None:
    slab = mos2(15.0)
    assert vacuum(slab) == pytest.approx(15.0)
    assert thickness(slab) == pytest.approx(3.19)
    assert area(slab) == pytest.approx(3.18**2 * np.sqrt(3) / 2)


@pytest.mark.parametrize("seed", range(6))
def test_a_new_vacuum_leaves_the_layer_as_it_is(seed: int) -> None:
    slab = mos2(18.0)
    found = with_vacuum(disguised(slab, seed), 12.0)
    assert vacuum(found) == pytest.approx(12.0)
    assert thickness(found) == pytest.approx(3.19)
    assert found.lattice.parameters == pytest.approx((3.18, 3.18, 15.19, 90, 90, 120))
    assert np.allclose(distances(found), distances(slab))
    assert found.species == slab.species
    z = found.frac_coords[:, 2]
    assert 0.5 * (z.max() + z.min()) == pytest.approx(0.5)
    assert found.lattice.matrix[2] == pytest.approx((0, 0, 15.19))


def test_graphene_is_flat() -> None:
    graphene = Structure(Lattice.hexagonal(2.46, 12.0), ["C", "C"], [[0, 0, 0], [1 / 3, 2 / 3, 1]])
    assert thickness(graphene) == pytest.approx(0.0, abs=1e-9)
    assert with_vacuum(graphene, 15.0).lattice.c == pytest.approx(15.0)


def test_moments_stay_with_their_sites() -> None:
    slab = mos2()
    slab.add_site_property("magmom", [1.0, 0.0, -1.0])
    assert with_vacuum(slab, 20.0).site_properties["magmom"] == [1.0, 0.0, -1.0]


def test_bulk_is_no_slab() -> None:
    bulk = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    assert not is_slab_like(bulk)
    with pytest.raises(NoSlab, match=r"ClNa|NaCl.*2\.8"):
        with_vacuum(bulk, 15.0)
    with pytest.raises(ValueError, match="positive"):
        with_vacuum(mos2(), -1.0)


def test_all_of_c2db_is_slab_like_and_of_mp20_only_layers_in_a_vacuum(data_dir: Path) -> None:
    from model.data.canonical import structure_from_arrays
    from model.data.dataset import read_split

    def slabs(name: str) -> list[str]:
        table = read_split(name, "test", data_dir=data_dir, limit=1000)
        crystals = [structure_from_arrays(c.numbers, c.frac, c.cell)[0] for c in table.crystals]
        return [f for f, one in zip(table.formulas, crystals) if one and is_slab_like(one)]

    assert len(slabs("c2db")) == 250
    few_layers = ["Te2W3(SeS)2", "Te6MoW3Se2", "MoW2(SeS2)2", "Te2Mo3S4", "MoWS4"]
    assert slabs("mp20") == few_layers  # three or four layers in 12.5 Å of vacuum and more
