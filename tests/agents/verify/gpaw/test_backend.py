"""The GPAW runner against GPAW called by hand, and against the numbers of RECIPES."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pymatgen.core import Lattice, Structure

from agents.verify.backend import BackendUnavailable, load_backend, resolve_backend
from agents.verify.gpaw.backend import GPAWBackend, data_sets
from agents.verify.properties.formation import formation_energy_per_atom
from agents.verify.properties.references import is_molecule
from agents.verify.settings import VerifySettings
from agents.verify.setup.cost import is_in_vacuum
from agents.verify.setup.presets import DFTSettings
from agents.verify.tasks import Task
from db.crystals import structure_to_record

FAST = GPAWBackend().settings("fast")


def run(
    folder: Path, structure: Structure, settings: DFTSettings, *, molecule: bool = False
) -> dict[str, Any]:
    """Run the runner as a launcher does."""
    source, target = folder / "input.json", folder / "output.json"
    task = {
        "structure": structure_to_record(structure),
        "settings": settings.record(),
        "molecule": molecule,
    }
    source.write_text(json.dumps(task))
    command = GPAWBackend().command(source, target)
    subprocess.run(command, cwd=folder, check=True, timeout=250)
    answer: dict[str, Any] = json.loads(target.read_text())
    return answer


def test_energy_and_gap_are_gpaws_own(tmp_path: Path) -> None:
    lattice = Lattice.cubic(5.469)
    conventional = Structure.from_spacegroup("Fd-3m", lattice, ["Si"], [[0, 0, 0]])
    coarse = FAST.model_copy(update={"element_k_density": FAST.k_density})
    found = run(tmp_path, conventional, coarse)["result"]
    program = (
        "from ase.build import bulk; from gpaw import GPAW, PW, FermiDirac; "
        "atoms = bulk('Si', a=5.469); "
        "atoms.calc = GPAW(mode=PW(400), xc='PBE', kpts={'size': (8, 8, 8), 'gamma': True}, "
        "occupations=FermiDirac(0.05), txt=None); print(atoms.get_potential_energy())"
    )
    by_hand = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert found["energy"] == pytest.approx(float(by_hand.stdout), abs=0.002)
    assert found["band_gap"] == pytest.approx(0.61, abs=0.02)  # RECIPES
    assert found["gap_k_points"] == [10, 10, 10]
    assert found["gap_confirmed"] is True
    assert found["symmetry"]["space_group"] == 227


def test_failed_convergence_is_explained(tmp_path: Path) -> None:
    aluminium = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.04), ["Al"], [[0, 0, 0]])
    hopeless = FAST.model_copy(update={"max_iterations": 1, "element_k_density": 1.0})
    error = run(tmp_path, aluminium, hopeless)["error"]
    assert error["kind"] == "scf"
    assert error["message"] == "SCF did not converge in 1 iterations"
    assert error["log_tail"]
    assert not (tmp_path / "output.partial").exists()


def test_broken_cell_is_explained(tmp_path: Path) -> None:
    overlapping = Structure(Lattice.cubic(3.0), ["Si", "Si"], [[0, 0, 0], [0, 0, 1e-7]])
    assert "message" in run(tmp_path, overlapping, FAST)["error"]


def test_oxygen_molecule_is_a_triplet(tmp_path: Path) -> None:
    oxygen = GPAWBackend().reference("O")
    assert is_molecule("O")
    small = FAST.model_copy(update={"cutoff": 300.0})
    found = run(tmp_path, oxygen, small, molecule=True)["result"]
    assert found["magnetic_moment"] == pytest.approx(2.0, abs=0.01)
    assert found["irreducible_k_points"] == 1


def test_gap_is_confirmed_by_a_denser_mesh_only(tmp_path: Path) -> None:
    aluminium = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.04), ["Al"], [[0, 0, 0]])
    coarse = FAST.model_copy(update={"element_k_density": 1.0, "cutoff": 200.0})
    found = run(tmp_path, aluminium, coarse)["result"]
    assert (found["is_metal"], found["band_gap_dense"]) == (True, None)
    assert found["gap_confirmed"] is False


def test_unknown_elements_and_open_f_shells_are_refused() -> None:
    backend = GPAWBackend()
    assert "At has no PBE PAW data set" in str(backend.unsupported(["Na", "At"], FAST))
    assert "Nd has an open f shell" in str(backend.unsupported(["Nd", "O"], FAST))
    assert backend.unsupported(["La", "Al", "O"], FAST) is None
    astatine = Structure(Lattice.cubic(3.5), ["At"], [[0, 0, 0]])
    assert math.isinf(backend.estimate_core_seconds(astatine, FAST))


def test_valence_electrons_are_those_of_the_data_sets() -> None:
    from gpaw.setup_data import SetupData

    for symbol in ("Si", "Sr", "Ti", "O", "La"):
        assert data_sets()[symbol] == SetupData(symbol, "PBE").Nv


def test_every_supported_element_has_a_reference_phase() -> None:
    backend = GPAWBackend()
    supported = {e for e in data_sets() if backend.unsupported([e], FAST) is None}
    without = {e for e in supported if not _has_reference(e)}
    assert without <= {"Rn", "Po", "At", "Ra", "Fr"}


def _has_reference(element: str) -> bool:
    try:
        structure = GPAWBackend().reference(element)
    except ValueError:
        return False
    return {site.specie.symbol for site in structure} == {element}


def test_only_molecules_are_taken_for_boxes() -> None:
    for element in sorted(set(data_sets()) - {"Rn"}):
        structure = GPAWBackend().reference(element)
        assert is_in_vacuum(structure) == is_molecule(element), element


def test_estimate_follows_measured_times() -> None:
    """CPU seconds measured with `fast` on one core, gap included: within a factor of three."""
    sites = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    titanate = Structure(Lattice.cubic(3.945), ["Sr", "Ti", "O", "O", "O"], sites)
    salt = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.692), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    distorted = titanate.copy()
    distorted.perturb(0.2)
    for structure, measured in ((titanate, 14.0), (salt, 6.7), (distorted, 89.5)):
        estimate = GPAWBackend().estimate_core_seconds(structure, FAST)
        assert measured / 3 < estimate < 3 * measured


def test_tasks_are_estimated_by_their_parts() -> None:
    backend = GPAWBackend()
    salt = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.692), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    whole = backend.estimate_core_seconds(salt, FAST)
    static = backend.estimate_task(salt, FAST, Task.STATIC, {"gap": False})
    gap = backend.estimate_task(salt, FAST, Task.GAP, {})
    relax = backend.estimate_task(salt, FAST, Task.RELAX, {})
    assert static < whole < static + gap < 1.5 * whole  # a process of its own costs a start
    assert relax > 3 * static
    metal = backend.reference("Mg")
    assert backend.estimate_core_seconds(metal, FAST) == backend.estimate_task(
        metal, FAST, Task.STATIC, {"gap": False}
    )
    ordered = salt.copy(site_properties={"magmom": [1.0] * len(salt)})
    assert backend.estimate_core_seconds(ordered, FAST) > 1.5 * whole


def test_resolution_names_the_level_and_refuses_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolved = resolve_backend(VerifySettings(preset="standard"))
    name, _, digits = resolved["level"].rpartition("-")
    assert name == f"gpaw-{GPAWBackend().version}-pbe-standard"
    assert len(bytes.fromhex(digits)) == 4
    assert resolve_backend(VerifySettings(backend="none"))["name"] == "none"
    monkeypatch.setattr("agents.verify.gpaw.backend.find_spec", lambda name: None)
    assert resolve_backend(VerifySettings())["name"] == "none"
    with pytest.raises(BackendUnavailable, match="compiled part is missing"):
        resolve_backend(VerifySettings(backend="gpaw"))
    with pytest.raises(ValueError, match="choose one of gpaw, vasp"):
        load_backend("abinit")


@pytest.mark.parametrize(
    "changes", [{"cutoff": 401.0}, {"data_sets": "gpaw-data-0"}, {"hubbard_u": {"Ti": 4.0}}]
)
def test_another_level_has_another_name(changes: dict[str, Any]) -> None:
    backend = GPAWBackend()
    assert backend.level(FAST) == backend.level(DFTSettings.model_validate(FAST.record()))
    assert backend.level(FAST.model_copy(update=changes)) != backend.level(FAST)


@pytest.mark.long
@pytest.mark.parametrize(
    ("preset", "formula", "energy", "gap"),
    [
        ("fast", "NaCl", -1.858, 5.01),
        ("standard", "NaCl", -1.858, 5.01),
        ("standard", "GaAs", -0.338, 0.20),
        ("standard", "SrTiO3", -3.12, 1.84),
    ],
)
def test_formation_energies_are_those_of_recipes(
    tmp_path: Path, preset: str, formula: str, energy: float, gap: float
) -> None:
    settings = GPAWBackend().settings(preset)
    sites = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    salt = ([0, 0, 0], [0.5, 0.5, 0.5])
    zincblende = ([0, 0, 0], [0.25, 0.25, 0.25])
    crystal = {
        "NaCl": Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.692), ["Na", "Cl"], salt),
        "GaAs": Structure.from_spacegroup("F-43m", Lattice.cubic(5.75), ["Ga", "As"], zincblende),
        "SrTiO3": Structure(Lattice.cubic(3.945), ["Sr", "Ti", "O", "O", "O"], sites),
    }[formula]
    compound = run(tmp_path, crystal, settings)["result"]
    amounts = crystal.composition.get_el_amt_dict()
    references = {}
    for element in amounts:
        reference = GPAWBackend().reference(element)
        answer = run(tmp_path, reference, settings, molecule=is_molecule(element))
        references[element] = answer["result"]["energy_per_atom"]
    found = formation_energy_per_atom(amounts, compound["energy_per_atom"], references)
    assert found == pytest.approx(energy, abs=0.03)
    assert compound["band_gap"] == pytest.approx(gap, abs=0.05)
