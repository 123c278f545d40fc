"""The runner under custodian, with a program that writes hand-made outputs in VASP's layout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import vasp_site
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp.inputs import Incar

from agents.verify.backend import load_backend
from agents.verify.identity import calculation_spec
from agents.verify.properties.references import is_molecule
from agents.verify.vasp import execution as vasp_execution
from agents.verify.vasp.runner import main
from db.crystals import record_to_structure

pytestmark = pytest.mark.filterwarnings("ignore")  # of POTCARs that pymatgen does not know


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(vasp_execution, "POLL_SECONDS", 0.05)
    return vasp_site.install(tmp_path / "site", monkeypatch)


def salt() -> Structure:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5]]
    cubic = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], sites)
    return cubic.get_primitive_structure()


def prepare(folder: Path, structure: Structure, **changes: Any) -> Path:
    """Write the input file of a calculation."""
    backend = load_backend("vasp")
    molecule = changes.pop("molecule", False)
    spec = calculation_spec(
        backend, structure, backend.settings("fast"), kind="compound", molecule=molecule
    )
    folder.mkdir(parents=True, exist_ok=True)
    keys = ("task", "structure", "settings", "options")
    document = {**{key: spec[key] for key in keys}, "molecule": molecule, **changes}
    (folder / "input.json").write_text(json.dumps(document))
    return folder / "input.json"


def run(folder: Path, structure: Structure, **changes: Any) -> dict[str, Any]:
    """Run a calculation in this process."""
    source = prepare(folder, structure, **changes)
    assert main([str(source), str(folder / "output.json")]) == 0
    answer: dict[str, Any] = json.loads((folder / "output.json").read_text())
    return answer


def test_energy_and_confirmed_gap_come_back_as_from_any_code(site: Path, tmp_path: Path) -> None:
    answer = run(tmp_path / "calc", salt())
    result = answer["result"]
    assert result["energy"] == pytest.approx(-1.3 - 1.8 - 2 * 1.9)  # the table of the program
    assert result["energy_per_atom"] == pytest.approx(result["energy"] / 2)
    assert (result["formula"], result["n_atoms"]) == ("NaCl", 2)
    assert result["symmetry"]["space_group"] == 225
    assert result["k_points"][0] < result["gap_k_points"][0]
    assert result["band_gap"] == min(result["band_gap_scf"], result["band_gap_dense"])
    assert result["gap_confirmed"]
    assert not result["is_metal"]
    assert result["spin_polarised"]
    assert result["magnetic_moment"] == 0.0
    assert result["vasp"]["version"].startswith("6.4.2")
    assert result["vasp"]["potcars"] == ["PAW_PBE Na_pv 01Jan2000", "PAW_PBE Cl 01Jan2000"]
    assert result["vasp"]["cores"] == 4
    assert result["cpu_seconds"] == pytest.approx(4 * result["wall_seconds"])
    assert not list(tmp_path.rglob("calc/**/POTCAR"))
    assert (tmp_path / "calc" / "POTCAR.spec").read_text().split() == ["Na_pv", "Cl"]
    assert (tmp_path / "calc" / "gap" / "INCAR").read_text().count("ICHARG = 1")


def test_gap_of_a_parent_starts_from_its_density(site: Path, tmp_path: Path) -> None:
    parent = {"result": {}, "folder": str(tmp_path / "parent")}
    (tmp_path / "parent").mkdir()
    (tmp_path / "parent" / "CHGCAR").write_text("density\n")
    result = run(tmp_path / "gap", salt(), task="gap", parent=parent)["result"]
    assert result["band_gap"] == result["band_gap_dense"]
    assert result["gap_confirmed"]
    assert "ICHARG = 1" in (tmp_path / "gap" / "INCAR").read_text()
    refused = run(tmp_path / "bands", salt(), task="bands")["error"]
    assert "VASP has no task bands here" in refused["message"]


def test_oxygen_molecule_has_its_moment(site: Path, tmp_path: Path) -> None:
    box = load_backend("vasp").reference("O")
    assert is_molecule("O")
    result = run(tmp_path, box, molecule=True)["result"]
    assert result["magnetic_moment"] == pytest.approx(2.0)
    assert "band_gap" not in result


def test_magnetic_order_of_the_crystal_is_asked_for_and_kept(site: Path, tmp_path: Path) -> None:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.25, 0.25, 0.25], [0.75, 0.75, 0.75]]
    moments = {"magmom": [4.0, -4.0, 0.0, 0.0]}
    lattice = Lattice.from_parameters(3.0, 3.0, 5.2, 90, 90, 120)
    crystal = Structure(lattice, ["Fe", "Fe", "O", "O"], sites, site_properties=moments)
    result = run(tmp_path, crystal, options={"gap": False})["result"]
    incar = Incar.from_file(tmp_path / "INCAR")
    assert sorted(incar["MAGMOM"]) == [-4.0, 0.0, 0.0, 4.0]
    kept = record_to_structure(result["structure"])
    order = sorted(zip(kept.labels, kept.site_properties["magmom"], strict=True))
    assert order == [("Fe", -4.0), ("Fe", 4.0), ("O", 0.0), ("O", 0.0)]


def test_custodian_corrects_and_what_it_changed_is_recorded(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VASP", "converges_at_all")
    result = run(tmp_path, salt(), options={"gap": False})["result"]
    (made,) = result["vasp"]["corrections"]
    assert made["errors"] == ["Unconverged"]
    assert made["actions"] == [{"dict": "INCAR", "action": {"_set": {"ALGO": "Normal"}}}]
    assert result["vasp"]["incar"]["ALGO"] == "Normal"
    assert result["scf_attempt"] == 2
    assert (tmp_path / "started.log").read_text().count("started") == 2


@pytest.mark.parametrize(
    ("mode", "kind", "message"),
    [
        ("unconverged", "scf", "Unconverged"),
        ("truncated", "output", "vasprun.xml is cut off or no XML"),
        ("silent", "output", "VASP left no vasprun.xml"),
        ("crash", "output", "SIGSEGV"),
    ],
)
def test_failures_are_explained(
    site: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    kind: str,
    message: str,
) -> None:
    monkeypatch.setenv("FAKE_VASP", mode)
    error = run(tmp_path, salt())["error"]
    assert error["kind"] == kind
    assert message in error["message"]
    assert not (tmp_path / "POTCAR").exists()


def test_another_version_or_other_potcars_are_refused(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("DISCOVERY_VASP_VERSION", "6.3.0")
        source = prepare(tmp_path / "version", salt())
    main([str(source), str(source.with_name("output.json"))])
    error = json.loads(source.with_name("output.json").read_text())["error"]
    assert error["kind"] == "unavailable"
    assert "VASP 6.4.2 ran, but the calculation is of version 6.3.0" in error["message"]
    document = json.loads(prepare(tmp_path / "potcar", salt()).read_text())
    document["settings"]["potcars"]["Na"]["sha256"] = "0" * 64
    (tmp_path / "potcar" / "input.json").write_text(json.dumps(document))
    main([str(tmp_path / "potcar" / name) for name in ("input.json", "output.json")])
    error = json.loads((tmp_path / "potcar" / "output.json").read_text())["error"]
    assert "not the recorded ones (Na: PAW_PBE Na_pv" in error["message"]
    assert not (tmp_path / "potcar" / "started.log").exists()


def test_missing_program_is_an_answer(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISCOVERY_VASP_COMMAND", "vasp_of_nobody")
    error = run(tmp_path, salt())["error"]
    assert error["kind"] == "unavailable"
    assert "DISCOVERY_VASP_COMMAND names the program vasp_of_nobody" in error["message"]


def test_killing_the_group_of_the_runner_leaves_no_vasp(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VASP", "hang")
    source = prepare(tmp_path / "calc", salt())
    runner = subprocess.Popen(
        [sys.executable, "-m", "agents.verify.vasp.runner", str(source), str(tmp_path / "out")],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "calc" / "started.log").is_file():
        assert runner.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    (vasp,) = psutil.Process(runner.pid).children()
    assert os.getpgid(vasp.pid) == runner.pid
    os.killpg(runner.pid, signal.SIGKILL)
    runner.wait()
    gone, alive = psutil.wait_procs([vasp], timeout=10)
    assert gone
    assert not alive
