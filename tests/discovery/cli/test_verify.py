"""``discovery verify``: dry runs, and the whole way through launchers with a stand-in for VASP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import vasp_site
from ase.build import bulk
from ase.io import write
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp.inputs import Incar
from pymatgen.io.vasp.sets import MPStaticSet
from typer.testing import CliRunner, Result

from agents.verify.tasks import TaskInput
from discovery.cli import app

pytestmark = pytest.mark.filterwarnings("ignore")  # of POTCARs that pymatgen does not know


@pytest.fixture
def salt(tmp_path: Path) -> Path:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5]]
    cubic = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], sites)
    path = tmp_path / "salt.cif"
    cubic.get_primitive_structure().to(filename=str(path))
    return path


@pytest.fixture(autouse=True)
def _without_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Screens have tests of their own; here their reasons for being absent are enough."""
    monkeypatch.setenv("DISCOVERY_MODELS", str(tmp_path / "no-models"))


def _verify(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["verify", *(str(argument) for argument in arguments)])


def test_dry_run_writes_the_inputs_of_pymatgens_set_without_vasp(
    salt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISCOVERY_VASP_COMMAND", "DISCOVERY_VASP_VERSION", "PMG_VASP_PSP_DIR"):
        monkeypatch.delenv(name, raising=False)
    out = tmp_path / "inputs"
    options = ("--backend", "vasp", "--preset", "standard", "--relax", "--dry-run", "--out", out)
    done = _verify(salt, *options, "--json")
    assert done.exit_code == 0, done.output
    (record,) = json.loads(done.stdout)
    calculation = record["calculation"]
    assert calculation["status"] == "dry_run"
    assert "PMG_VASP_PSP_DIR is not set" in calculation["reason"]
    assert calculation["estimated_core_hours"] is None
    folders = {Path(name).parent.name for name in calculation["inputs"]}
    assert folders == {"relax", "static", "gap"}
    structure = Structure.from_file(salt)
    written = Incar.from_file(out / calculation["folder"] / "static" / "INCAR")
    assert written == Incar.from_str(str(MPStaticSet(structure).incar))
    assert set(calculation["references"]) == {"Na", "Cl"}
    spec = out / calculation["references"]["Na"]["folder"] / "POTCAR.spec"
    assert spec.read_text().strip() == "Na_pv"
    assert not list(out.rglob("POTCAR"))


def test_dry_run_of_gpaw_gives_the_runners_input_and_the_estimate(
    salt: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "absent.cif"
    done = _verify(salt, missing, "--dry-run", "--out", tmp_path / "inputs", "--json")
    assert done.exit_code == 0, done.output
    record, unread = json.loads(done.stdout)
    assert "there is no file" in unread["calculation"]["reason"]
    assert record["formula"] == "NaCl"
    assert record["validity"]["valid"]
    assert record["calculation"]["estimated_core_hours"] > 0
    (name,) = record["calculation"]["inputs"]
    task = TaskInput.read(json.loads((tmp_path / "inputs" / name).read_text()))
    assert task.structure.composition.reduced_formula == "NaCl"
    assert task.settings.preset == "fast"


def test_wrong_use_is_explained(salt: Path, tmp_path: Path) -> None:
    assert "name it with --out" in str(_verify(salt, "--dry-run").exception)
    wrong = _verify(salt, "--preset", "accurate", "--dry-run", "--out", tmp_path / "x")
    assert "--preset" in str(wrong.exception)
    other = _verify(salt, "--preset", "mp24", "--dry-run", "--out", tmp_path / "x")
    assert "set backend: vasp" in str(other.exception)
    alone = _verify(tmp_path / "absent.cif", "--dry-run", "--out", tmp_path / "x")
    assert alone.exit_code == 1


def test_vasp_that_is_not_set_up_is_an_error_before_anything_starts(
    salt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISCOVERY_VASP_COMMAND", raising=False)
    done = _verify(salt, "--backend", "vasp")
    assert "DISCOVERY_VASP_COMMAND is not set" in str(done.exception)


def _start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "discovery", "verify", *map(str, arguments), "--json"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "DISCOVERY_HOME": str(folder / "home")},
    )


def _finish(process: subprocess.Popen[str]) -> tuple[list[dict], str]:
    try:
        out, log = process.communicate(timeout=500)
    except subprocess.TimeoutExpired:
        process.terminate()
        raise
    assert process.returncode == 0, log
    return json.loads(out), log


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_interrupted_verification_with_vasp_continues_and_pays_once(
    salt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MONGODB_URI", raising=False)
    vasp_site.install(tmp_path / "site", monkeypatch)
    write(tmp_path / "more.extxyz", [bulk("MgO", "rocksalt", a=4.2)], format="extxyz")  # no POTCAR
    arguments = (salt, tmp_path / "more.extxyz", "--backend", "vasp", "--preset", "fast")
    monkeypatch.setenv("FAKE_VASP", "hang")
    hanging = _start(tmp_path, *arguments)
    deadline = time.monotonic() + 200
    while not list((tmp_path / "home").rglob("started.log")):
        assert hanging.poll() is None, hanging.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    hanging.send_signal(signal.SIGINT)
    _, log = hanging.communicate(timeout=100)
    assert hanging.returncode == 130, log
    assert "the same command continues" in log
    monkeypatch.delenv("FAKE_VASP")
    records, log = _finish(_start(tmp_path, *arguments))
    assert log.index("estimate:") < log.index("calculations, 1 at a time")
    done = records[0]["calculation"]
    assert done["status"] == "completed"
    assert done["level"].startswith("vasp-6.4.2-pbe-fast-")
    assert done["formation_energy_per_atom"] == pytest.approx(-1.9)  # the stand-in's binding
    corrected = done["formation_energy_per_atom_mp2020"]
    assert corrected == pytest.approx(-1.9 - 0.614 / 2)  # MP2020's chloride
    assert done["band_gap"] > 4
    assert set(done["hashes"]["references"]) == {"Na", "Cl"}
    failed = records[1]["calculation"]
    assert failed["status"] == "failed"
    assert "no POTCAR of Mg_pv" in failed["reason"]
    runs = len(list((tmp_path / "home").rglob("INCAR.gz")))
    again, log = _finish(_start(tmp_path, salt, "--backend", "vasp", "--preset", "fast"))
    assert again[0]["calculation"] == {**done, "estimated_core_hours": 0.0}
    assert "1 of them have been computed before" in log
    assert len(list((tmp_path / "home").rglob("INCAR.gz"))) == runs


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_silicon_with_gpaw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MONGODB_URI", raising=False)
    atoms = bulk("Si", "diamond", a=5.43)
    path = tmp_path / "POSCAR"
    write(path, atoms, format="vasp")
    (record,), _ = _finish(_start(tmp_path, path))
    done = record["calculation"]
    assert done["status"] == "completed"
    assert done["band_gap"] == pytest.approx(0.61, abs=0.08)  # PBE, of the literature
    assert abs(done["formation_energy_per_atom"]) < 0.02  # against the relaxed reference
    assert done["space_group"] == 227
