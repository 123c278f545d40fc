"""Tasks of the GPAW runner, started as a launcher starts them, one from the files of another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gpaw_task import answer, result
from pymatgen.core import Lattice, Structure

from agents.verify.gpaw.backend import GPAWBackend
from agents.verify.gpaw.relax import GPA
from db.crystals import record_to_structure

COARSE = (
    GPAWBackend()
    .settings("fast")
    .model_copy(
        update={"cutoff": 300.0, "k_density": 1.5, "gap_k_density": 2.0, "element_k_density": 1.9}
    )
)


def silicon(edge: float) -> Structure:
    return Structure.from_spacegroup("Fd-3m", Lattice.cubic(edge), ["Si"], [[0, 0, 0]])


def test_a_gap_from_the_parents_density_is_that_of_one_run(tmp_path: Path) -> None:
    crystal = silicon(5.469)
    whole = result(tmp_path / "whole", crystal, COARSE)
    static = result(tmp_path / "static", crystal, COARSE, task="static", options={"gap": False})
    assert static["energy"] == pytest.approx(whole["energy"], abs=1e-6)
    assert "band_gap" not in static
    left = tmp_path / "static" / "density.gpw"
    assert left.stat().st_size < 1_000_000
    parent = {"result": static, "folder": str(left.parent)}
    gap = result(tmp_path / "gap", crystal, COARSE, task="gap", parent=parent)
    assert gap["density"] == "parent"
    assert not list((tmp_path / "gap").glob("scf.txt"))
    for name in ("band_gap_scf", "band_gap", "fermi_level", "electrons_in_occupations"):
        assert gap[name] == pytest.approx(whole[name], abs=1e-5), name
    assert gap["gap_k_points"] == whole["gap_k_points"]
    assert (gap["gap_confirmed"], gap["gap_consistent"]) == (True, True)
    alone = result(
        tmp_path / "alone", crystal, COARSE, task="gap", parent=parent | {"folder": None}
    )
    assert alone["density"] == "computed again"
    assert alone["band_gap"] == pytest.approx(whole["band_gap"], abs=1e-5)


def test_what_an_attempt_changes_is_used_and_recorded(tmp_path: Path) -> None:
    mixer = {"name": "pulay", "beta": 0.1, "nmaxold": 5, "weight": 50.0}
    changes = {"mixer": mixer, "smearing": 0.2}
    found = result(tmp_path / "changed", silicon(5.469), COARSE, changes=changes)
    assert found["changes"] == changes
    assert found["scf_options"] == {"mixer": mixer}
    log = (tmp_path / "changed" / "scf.txt").read_text()
    assert "0.2" in log.split("occupations")[1].splitlines()[0]


def test_relaxation_ends_at_the_minimum_of_the_energy(tmp_path: Path) -> None:
    """The volume against a parabola through energies at three fixed volumes."""
    settings = COARSE.model_copy(update={"relax_cutoff": 500.0, "cutoff": 500.0})
    settings = settings.model_copy(update={"relax_stress": 0.0005})
    found = result(tmp_path / "relax", silicon(5.40), settings, task="relax")
    relaxed = record_to_structure(found["structure"])
    edges = (5.41, 5.47, 5.53)
    energies = [
        result(tmp_path / f"{edge}", silicon(edge), settings, options={"gap": False})
        for edge in edges
    ]
    a, b, _ = np.polyfit(edges, [one["energy_per_atom"] for one in energies], 2)
    edge = (4 * relaxed.volume) ** (1 / 3)
    assert edge == pytest.approx(-b / (2 * a), abs=0.008)
    assert found["volume_change"] == pytest.approx((edge / 5.40) ** 3 - 1, abs=1e-6)
    assert (
        found["steps"][-1]["max_stress_gpa"] <= 0.0005 * GPA < found["steps"][0]["max_stress_gpa"]
    )
    assert found["energy_change_per_atom"] < 0
    assert len(found["steps"]) == found["n_steps"] + 1
    again = Structure.from_sites(relaxed.sites).get_space_group_info(symprec=1e-4)
    assert again[1] == found["symmetry"]["space_group"] == 227


def test_a_relaxation_that_is_cut_off_says_how_far_it_got(tmp_path: Path) -> None:
    settings = COARSE.model_copy(update={"relax_cutoff": 300.0, "relax_steps": 1})
    error = answer(tmp_path / "relax", silicon(5.1), settings, task="relax")["error"]
    assert error["kind"] == "NotRelaxed"
    assert "not relaxed in 1 steps" in error["message"]
    assert "GPa are left" in error["message"]


def manganese_oxide(signs: tuple[float, float]) -> Structure:
    """Rock salt with two formula units; the moments of its two manganese atoms, μB."""
    salt = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.44), ["Mn", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    ).get_primitive_structure()
    doubled = salt.make_supercell([[0, 1, 1], [1, 0, 1], [1, 1, 0]], in_place=False)
    moments = iter(signs)
    return doubled.copy(
        site_properties={
            "magmom": [next(moments) if s.specie.symbol == "Mn" else 0.0 for s in doubled]
        }
    )


@pytest.mark.long
def test_manganese_oxide_is_an_antiferromagnetic_insulator(tmp_path: Path) -> None:
    """Order, moment and effect of U, with few k-points (doi 10.1103/PhysRevB.57.1505)."""
    settings = COARSE.model_copy(update={"k_density": 0.9, "gap_k_density": 0.9})
    anti = result(tmp_path / "anti", manganese_oxide((5.0, -5.0)), settings)
    ferro = result(tmp_path / "ferro", manganese_oxide((5.0, 5.0)), settings)
    plain = result(
        tmp_path / "plain",
        manganese_oxide((5.0, -5.0)),
        settings.model_copy(update={"hubbard_u": {}}),
    )
    assert anti["hubbard_u"] == {"Mn": 3.9}
    assert anti["n_atoms"] == 4
    assert ferro["n_atoms"] == 2
    assert anti["magnetic_moment"] == pytest.approx(0.0, abs=0.01)
    assert ferro["magnetic_moment"] == pytest.approx(5.0, abs=0.05)
    assert max(anti["site_moments"]) == pytest.approx(4.5, abs=0.3)
    assert min(anti["site_moments"]) == pytest.approx(-max(anti["site_moments"]), abs=0.01)
    assert anti["energy_per_atom"] < ferro["energy_per_atom"]
    assert anti["band_gap"] > plain["band_gap"] + 0.3 > 0.3
    assert max(anti["site_moments"]) > max(plain["site_moments"])
