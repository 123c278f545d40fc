"""Relaxation of slabs: in the plane only, as ASE's masked cell filter does it."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units
from ase.build import fcc111, mx2
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE
from pymatgen.core import Lattice, Structure
from scipy.spatial.transform import Rotation

from agents.relax import fire, relaxation
from agents.relax.batch import relax, relax_many
from agents.relax.calculator import PotentialCalculator, atoms_from_structure, structure_from_atoms
from agents.relax.cell_coordinates import CellCoordinates
from agents.relax.potential import Potential
from agents.relax.references import ElementalReferences
from agents.relax.relaxation import Stop
from agents.relax.rules import broken_rule, out_of_domain
from agents.relax.settings import RelaxSettings
from agents.slab import (
    LAYER_SPACE,
    MATCHING_VACUUM,
    area,
    is_slab_like,
    thickness,
    vacuum,
    with_vacuum,
)
from tests.agents.relax.emt import EMTPotential

IN_PLANE = (1, 1, 0, 0, 0, 1)
SLABS = RelaxSettings(in_plane=True, fmax=0.01, stress_max=0.02, max_steps=300)


def metal(seed: int = 0, strain: float = 0.04) -> Structure:
    """Two layers of Cu3Au-like atoms, strained in the plane and rattled."""
    atoms = fcc111("Cu", (2, 1, 2), a=3.7, vacuum=6.0, orthogonal=False)
    atoms.numbers[[0, 3]] = 79
    atoms.pbc = True
    generator = np.random.default_rng(seed)
    cell = atoms.cell.array
    cell[:2, :2] = cell[:2, :2] @ (np.eye(2) + generator.normal(0, strain, (2, 2)))
    atoms.set_cell(cell, scale_atoms=True)
    atoms.positions += generator.normal(0, 0.05, atoms.positions.shape)
    return with_vacuum(structure_from_atoms(atoms), MATCHING_VACUUM)


def layers() -> dict[str, Structure]:
    """MoS2 with its mirror, 1T-CdI2 with its inversion, Janus MoSSe, flat BN; away from rest."""
    found = {
        "MoS2": mx2("MoS2", kind="2H", a=3.30, thickness=2.9, vacuum=8.0),
        "CdI2": mx2("CdI2", kind="1T", a=4.20, thickness=3.6, vacuum=9.0),
        "MoSSe": mx2("MoS2", kind="2H", a=3.15, thickness=3.3, vacuum=8.0),
    }
    found["MoSSe"].numbers[2] = 34
    slabs = {}
    for name, atoms in found.items():
        atoms.pbc = True
        slabs[name] = with_vacuum(structure_from_atoms(atoms), MATCHING_VACUUM)
    third = [[0, 0, 0.5], [1 / 3, 2 / 3, 0.52]]
    slabs["BN"] = Structure(Lattice.hexagonal(2.6, 15.0), ["B", "N"], third)
    return slabs


def test_fire_takes_the_steps_that_ases_masked_filter_takes() -> None:
    structure = metal()
    atoms = atoms_from_structure(structure)
    atoms.calc = EMT()
    reference = FIRE(FrechetCellFilter(atoms, mask=IN_PLANE), logfile=None)
    crystal = CellCoordinates(
        structure.lattice.matrix, atoms.numbers, 0.0, relax_cell=True, in_plane=True
    )
    state = fire.init(crystal, structure.cart_coords)
    for _ in range(40):
        reference.step()
        cell, positions = crystal.geometry(state.coordinates)
        moved = Structure(Lattice(cell), structure.species, positions, coords_are_cartesian=True)
        (result,) = EMTPotential().evaluate([moved])
        gradient = crystal.gradient(state.coordinates, result.forces, result.stress)
        state = fire.step(state, result.energy, gradient)
        cell, positions = crystal.geometry(state.coordinates)
        np.testing.assert_allclose(cell, atoms.cell.array, atol=1e-7)
        np.testing.assert_allclose(positions, atoms.positions, atol=1e-7)
        np.testing.assert_allclose(cell[2], structure.lattice.matrix[2], atol=1e-12)


@pytest.mark.parametrize("optimizer", ["fire", "trust_region"])
def test_metal_slabs_end_where_ase_ends(optimizer: str) -> None:
    slabs = [metal(seed) for seed in range(2)]
    settings = SLABS.model_copy(update={"optimizer": optimizer, "max_steps": 600})
    for slab, found in zip(slabs, relax_many(slabs, EMTPotential(), settings)):
        atoms = atoms_from_structure(slab)
        atoms.calc = EMT()
        assert BFGS(FrechetCellFilter(atoms, mask=IN_PLANE), logfile=None).run(0.002, steps=500)
        assert found.stop is Stop.CONVERGED
        assert found.energy == pytest.approx(atoms.get_potential_energy(), abs=2e-3)
        assert area(found.structure) == pytest.approx(area(structure_from_atoms(atoms)), rel=3e-3)
        assert found.volume_ratio == pytest.approx(area(found.structure) / area(slab), rel=1e-9)


@pytest.mark.parametrize("name", ["MoS2", "CdI2", "MoSSe", "BN"])
def test_layers_in_chgnet_end_where_ase_ends(name: str, chgnet: Potential) -> None:
    slab = layers()[name]
    found = relax(slab, chgnet, SLABS)
    atoms = atoms_from_structure(slab)
    atoms.calc = PotentialCalculator(chgnet)
    BFGS(FrechetCellFilter(atoms, mask=IN_PLANE), logfile=None).run(0.005, steps=150)
    assert found.stop is Stop.CONVERGED
    assert found.energy == pytest.approx(atoms.get_potential_energy(), abs=2e-3 * len(slab))
    assert found.structure.lattice.a == pytest.approx(atoms.cell.lengths()[0], abs=0.02)
    assert found.structure.lattice.parameters[3:5] == pytest.approx((90.0, 90.0), abs=1e-9)
    assert vacuum(found.structure) == pytest.approx(MATCHING_VACUUM, abs=1e-9)
    layer = area(found.structure) * (thickness(found.structure) + LAYER_SPACE)
    stress = chgnet.evaluate([found.structure])[0].stress * found.structure.volume / layer
    assert np.abs(stress[:2, :2]).max() / units.GPa <= 0.02
    assert found.max_stress == pytest.approx(np.abs(stress[:2, :2]).max(), rel=1e-3)


def test_a_turned_and_shifted_slab_relaxes_to_the_same_layer() -> None:
    slab = metal(3)
    turn = Rotation.random(random_state=4).as_matrix()
    cell = slab.lattice.matrix.copy()
    cell[2] += 0.4 * cell[0] - 0.3 * cell[1]  # c tilted: the vacuum does not care
    lattice = Lattice(cell @ turn.T)
    positions = lattice.get_fractional_coords(slab.cart_coords @ turn.T) + 0.3
    one, other = relax_many(
        [slab, Structure(lattice, slab.species, positions)], EMTPotential(), SLABS
    )
    assert other.energy == pytest.approx(one.energy, abs=1e-6)
    assert other.steps == one.steps
    assert other.structure.lattice.parameters == pytest.approx(
        one.structure.lattice.parameters, abs=1e-4
    )


def test_the_vacuum_does_not_dilute_what_is_judged() -> None:
    slab = metal(1, strain=0.0)
    tight = RelaxSettings(in_plane=True, max_steps=0)
    near, far = (
        relax(with_vacuum(slab, gap), EMTPotential(), tight).max_stress for gap in (10.5, 60.0)
    )
    assert near == pytest.approx(far, rel=1e-9)
    assert near / units.GPa > 1.0


def test_guards_of_slabs_measure_the_layer(
    chgnet: Potential, references: ElementalReferences
) -> None:
    wide = with_vacuum(layers()["MoS2"], 120.0)
    assert wide.volume / 3 > RelaxSettings().volume_per_atom_max
    verdict = broken_rule(wide, chgnet, references, RelaxSettings())
    assert verdict is not None
    assert verdict.reason == "volume"
    assert broken_rule(wide, chgnet, references, SLABS) is None
    assert out_of_domain(chgnet, RelaxSettings()) == ()
    assert out_of_domain(chgnet, SLABS) == ("vacuum: chgnet-0.3.0 learned from bulk crystals",)
    with pytest.raises(ValueError, match="pressure"):
        RelaxSettings(in_plane=True, pressure=1.0)


@pytest.mark.parametrize("scale", [0.02, 0.8, 1.25])
def test_a_scan_keeps_the_vacuum(scale: float) -> None:
    slab = metal(2)
    settings = RelaxSettings(
        in_plane=True, volume_scan=True, volume_scan_scales=(scale,), max_steps=0
    )
    relax(slab, EMTPotential(), settings)  # 0.02 would leave 4 Å of 15, which is no slab
    trial = relaxation._scaled_slab(slab, scale)
    assert vacuum(trial) == pytest.approx(MATCHING_VACUUM)
    assert area(trial) == pytest.approx(area(slab) * scale ** (2 / 3))
    assert thickness(trial) == pytest.approx(thickness(slab) * scale ** (1 / 3))


def test_the_ratio_after_a_scan_is_that_of_the_areas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaxation, "_lowest", lambda trials, *_: trials[-1])
    settings = RelaxSettings(
        in_plane=True, volume_scan=True, volume_scan_scales=(1.25,), max_steps=0
    )
    found = relax(metal(2), EMTPotential(), settings)
    assert found.volume_ratio == pytest.approx(1.25 ** (2 / 3), rel=1e-9)


def test_atoms_that_separate_into_the_vacuum_end_no_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    spread = Structure(metal(2).lattice, ["Cu", "Au"], [[0, 0, 0.25], [0.5, 0.5, 0.75]])
    assert vacuum(spread) < 10.0
    slab = with_vacuum(Structure(spread.lattice, ["Cu", "Au"], [[0, 0, 0.4], [0.5, 0.5, 0.5]]), 15)
    monkeypatch.setattr(relaxation, "_separated", lambda *_: spread)
    settings = RelaxSettings(in_plane=True, volume_scan=True, max_steps=2)
    found = relax(slab, EMTPotential(), settings)
    assert not is_slab_like(found.structure)  # for the screen to reject
