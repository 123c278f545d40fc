"""Slabs in GPAW: against GPAW itself, with and without a dipole, and in the plane only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from gpaw_task import result
from pymatgen.core import Lattice, Structure

from agents.slab import LAYER_SPACE, area, thickness, vacuum, with_vacuum
from agents.verify.backend import BackendUnavailable, DFTBackend, resolve_backend
from agents.verify.gpaw.backend import GPAWBackend
from agents.verify.gpaw.calculator import atoms_of, parameters
from agents.verify.gpaw.relax import GPA, _step
from agents.verify.settings import VerifySettings
from agents.verify.setup.cost import estimate
from agents.verify.tasks import Task
from agents.verify.workflow import steps
from db.crystals import record_to_structure

COARSE = (
    GPAWBackend()
    .settings("fast")
    .model_copy(update={"cutoff": 300.0, "k_density": 1.5, "gap_k_density": 2.0})
)


def boron_nitride(buckling: float, edge: float = 2.51) -> Structure:
    """BN; buckled (Å) it has neither mirror nor inversion: polar."""
    sites = [[0, 0, 0.5], [1 / 3, 2 / 3, 0.5 + buckling / 20.0]]
    return Structure(Lattice.hexagonal(edge, 20.0), ["B", "N"], sites)


def field(calculator: Any) -> float:
    """Return the electric field in the lower part of the vacuum, V/Å."""
    potential = calculator.get_electrostatic_potential().mean(axis=(0, 1))
    heights = np.arange(len(potential)) / len(potential) * calculator.atoms.cell[2, 2]
    within = (heights > 1.0) & (heights < 2.5)
    return float(np.polyfit(heights[within], potential[within], 1)[0])


def test_the_energy_of_a_polar_layer_does_not_depend_on_its_vacuum(tmp_path: Path) -> None:
    layer = boron_nitride(0.7)
    near, far = (
        result(
            tmp_path / str(gap), layer, COARSE, task="static", options={"gap": False, "vacuum": gap}
        )
        for gap in (11.0, 17.0)
    )
    assert near["slab"] == {
        "vacuum": 11.0,
        "thickness": pytest.approx(0.7),
        "area": pytest.approx(area(layer)),
        "dipole_correction": True,
    }
    assert near["symmetry"]["polar"] is True
    assert near["k_points"][2] == 1
    assert vacuum(record_to_structure(near["structure"])) == pytest.approx(11.0)
    assert near["energy"] == pytest.approx(far["energy"], abs=0.01)
    # without the correction the periodic potential drives a field through the vacuum
    cell = record_to_structure(near["structure"])
    atoms, spin = atoms_of(cell, COARSE, molecule=False, flat=True)
    keywords = parameters(atoms, COARSE, tuple(near["k_points"]), spin=spin, polar=False)
    assert "poissonsolver" not in keywords
    from gpaw import GPAW

    atoms.calc = GPAW(**keywords, txt=None)
    atoms.get_potential_energy()
    corrected = GPAW(tmp_path / "11.0" / "density.gpw", txt=None)
    assert abs(field(atoms.calc)) > 0.05
    assert abs(field(corrected)) < 0.1 * abs(field(atoms.calc))


def test_a_mirror_spares_the_correction_and_the_gap_is_that_of_one_more_vacuum(
    tmp_path: Path,
) -> None:
    layer = boron_nitride(0.0)
    found = result(
        tmp_path / "thin", layer, COARSE, task="static", options={"gap": True, "vacuum": 11.0}
    )
    assert found["slab"]["dipole_correction"] is False
    assert found["gap_k_points"][2] == 1
    assert found["gap_confirmed"]
    assert 4.0 < found["band_gap"] < 5.2  # PBE: 4.7 eV, doi 10.1103/PhysRevB.80.155425


@pytest.mark.long
def test_graphene_has_no_gap(tmp_path: Path) -> None:
    """Its bands touch at K, which a mesh of even numbers alone misses by 0.9 eV."""
    lattice = Lattice.hexagonal(2.468, 20.0)
    graphene = Structure(lattice, ["C", "C"], [[1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5]])
    settings = GPAWBackend().settings("fast").model_copy(update={"cutoff": 300.0})
    found = result(
        tmp_path / "graphene", graphene, settings, task="static", options={"vacuum": 10.5}
    )
    assert found["k_points"][0] % 6 == 0
    assert found["band_gap"] < 0.01


def test_the_pressure_of_a_slab_is_that_in_its_plane() -> None:
    layer = with_vacuum(boron_nitride(0.5), 11.0)
    atoms, _ = atoms_of(layer, COARSE, molecule=False, flat=True)
    stress = np.array([-0.02, -0.04, 0.7, 0.1, 0.2, 0.03])  # eV/Å^3, only the plane counts
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.zeros((2, 3)), stress=stress)
    share = (thickness(layer) + LAYER_SPACE) / layer.lattice.c
    found = _step(atoms, flat=True)
    assert found["pressure_gpa"] == pytest.approx(0.03 / share * GPA)
    assert found["max_stress_gpa"] == pytest.approx(0.04 / share * GPA)
    bulk = _step(atoms, flat=False)
    assert bulk["pressure_gpa"] == pytest.approx(-(0.7 - 0.06) / 3 * GPA)


@pytest.mark.long
def test_a_layer_relaxes_in_its_plane_to_the_minimum_of_its_energy(tmp_path: Path) -> None:
    settings = COARSE.model_copy(update={"relax_cutoff": 500.0, "cutoff": 500.0})
    stretched = boron_nitride(0.0, edge=2.62)
    found = result(tmp_path / "relax", stretched, settings, task="relax", options={"vacuum": 11.0})
    relaxed = record_to_structure(found["structure"])
    assert vacuum(relaxed) == pytest.approx(11.0, abs=1e-6)
    assert found["steps"][-1]["max_stress_gpa"] <= settings.relax_stress * GPA
    energies = []
    edges = relaxed.lattice.a * np.array([0.985, 1.0, 1.015])
    for edge in edges:
        layer = boron_nitride(0.0, edge=edge)
        options = {"gap": False, "vacuum": 11.0}
        energies.append(
            result(tmp_path / f"{edge:.3f}", layer, settings, task="static", options=options)[
                "energy"
            ]
        )
    parabola = np.polyfit(edges, energies, 2)
    assert -parabola[1] / (2 * parabola[0]) == pytest.approx(relaxed.lattice.a, abs=0.01)


@pytest.mark.long
def test_the_stress_of_a_polar_layer_is_the_derivative_of_its_energy(tmp_path: Path) -> None:
    """The field that corrects the dipole is part of the stress."""
    from gpaw import GPAW

    settings = COARSE.model_copy(update={"cutoff": 700.0, "energy_tolerance": 1e-6})
    layer = with_vacuum(boron_nitride(0.5), 11.0)

    def computed(strain: float) -> tuple[float, float]:
        cell = layer.lattice.matrix.copy()
        cell[:2] *= 1 + strain
        here = Structure(Lattice(cell), layer.species, layer.frac_coords)
        atoms, spin = atoms_of(here, settings, molecule=False, flat=True)
        keywords = parameters(atoms, settings, (6, 6, 1), spin=spin, polar=True)
        atoms.calc = GPAW(**keywords, txt=None)
        energy = float(atoms.get_potential_energy(force_consistent=True))
        stress = atoms.get_stress()
        return energy, float((stress[0] + stress[1]) * atoms.get_volume())

    derivative = (computed(0.01)[0] - computed(-0.01)[0]) / 0.02
    height = area(layer) * (thickness(layer) + LAYER_SPACE)
    assert computed(0.0)[1] / height * GPA == pytest.approx(derivative / height * GPA, abs=3.0)


def test_slabs_cost_what_their_mesh_says_and_are_no_molecules() -> None:
    settings = GPAWBackend().settings("fast")
    layer = with_vacuum(boron_nitride(0.0), 60.0)  # 163 Å^3 an atom, as the box of a molecule
    thin = estimate(layer, settings, 8.0, Task.STATIC, {"vacuum": 12.0})
    thick = estimate(layer, settings, 8.0, Task.STATIC, {"vacuum": 24.0})
    assert 1.2 * thin < thick < 2.2 * thin
    assert thin == estimate(with_vacuum(layer, 20.0), settings, 8.0, Task.STATIC, {"vacuum": 12.0})


def test_every_step_of_a_slabs_workflow_knows_its_vacuum() -> None:
    settings = VerifySettings(slab_vacuum=12.0, relax=True, preset="standard")
    assert [step.options.get("vacuum") for step in steps(settings)] == [12.0] * 3
    assert all("vacuum" not in step.options for step in steps(VerifySettings(relax=True)))


def test_a_code_that_knows_no_slabs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert DFTBackend.computes_slabs is False
    monkeypatch.setattr(GPAWBackend, "computes_slabs", False)
    with pytest.raises(BackendUnavailable, match="slabs"):
        resolve_backend(VerifySettings(backend="gpaw", slab_vacuum=12.0))
    assert resolve_backend(VerifySettings(backend="gpaw"))["name"] == "gpaw"
