"""The VASP backend: settings, inputs against pymatgen's own sets, POTCARs, and its identity."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import fake_vasp
import pytest
import vasp_site
from pymatgen.core import SETTINGS, Lattice, Structure
from pymatgen.io.vasp.inputs import Incar, Kpoints, Poscar
from pymatgen.io.vasp.sets import MP24StaticSet, MPRelaxSet, MPStaticSet

from agents.verify.backend import BackendUnavailable, check_recorded, load_backend
from agents.verify.identity import calculation_spec
from agents.verify.properties.formation import mp2020_correction
from agents.verify.tasks import Task
from agents.verify.vasp.backend import VASPBackend
from agents.verify.vasp.cost import mesh
from agents.verify.vasp.inputs import input_set, write_for_inspection
from agents.verify.vasp.settings import PRESETS, VASPSettings, preset

pytestmark = pytest.mark.filterwarnings("ignore")  # of POTCARs that pymatgen does not know


@pytest.fixture
def potcars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return vasp_site.install(tmp_path / "site", monkeypatch)


@pytest.fixture
def salt() -> Structure:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5]]
    cubic = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], sites)
    return cubic.get_primitive_structure()


@pytest.fixture
def hematite() -> Structure:
    lattice = Lattice.hexagonal(5.04, 13.75)
    return Structure.from_spacegroup(
        "R-3c", lattice, ["Fe", "O"], [[0, 0, 0.355], [0.306, 0, 0.25]]
    ).get_primitive_structure()


@pytest.mark.parametrize(
    ("name", "task", "own"),
    [
        ("standard", Task.STATIC, MPStaticSet),
        ("fast", Task.RELAX, MPRelaxSet),
        ("mp24", Task.STATIC, MP24StaticSet),
    ],
)
def test_written_inputs_are_those_of_pymatgens_set(
    hematite: Structure, tmp_path: Path, name: str, task: Task, own: Any
) -> None:
    write_for_inspection(input_set(hematite, preset(name), task), tmp_path)
    expected = own(hematite)
    found = Incar.from_file(tmp_path / "INCAR")
    assert found == Incar.from_str(str(expected.incar))
    assert Poscar.from_file(tmp_path / "POSCAR").structure.matches(hematite)
    assert (tmp_path / "POTCAR.spec").read_text().split() == expected.potcar_symbols
    assert not (tmp_path / "POTCAR").exists()
    if name == "mp24":
        assert not (tmp_path / "KPOINTS").exists()
        assert found["KSPACING"] == pytest.approx(0.22)
        assert found["METAGGA"].upper() == "R2SCAN"
        return
    assert Kpoints.from_file(tmp_path / "KPOINTS").kpts == expected.kpoints.kpts
    u = dict(zip(hematite.symbol_set, found["LDAUU"], strict=True))  # sorted alike: Fe, O
    assert u == {"Fe": 5.3, "O": 0}  # Materials Project, doi 10.1103/PhysRevB.84.045115
    assert found["ISPIN"] == 2
    assert max(found["MAGMOM"]) == 5.0
    assert found["ENCUT"] == 520


def test_gap_mesh_is_denser_and_estimated_as_it_will_be(salt: Structure) -> None:
    for name in PRESETS:
        settings = preset(name)
        coarse, dense = mesh(salt, settings.k_points), mesh(salt, settings.gap_k_points)
        assert all(a < b for a, b in zip(coarse, dense, strict=True))
    written = input_set(salt, preset("standard"), Task.GAP).kpoints
    assert mesh(salt, preset("standard").gap_k_points) == tuple(written.kpts[0])


def test_oxygen_molecule_is_a_triplet_at_gamma() -> None:
    box = VASPBackend().reference("O")
    written = input_set(box, preset("standard"), Task.STATIC, molecule=True)
    assert written.kpoints.kpts == [(1, 1, 1)]
    assert written.incar["NUPDOWN"] == 2
    assert written.incar["ISMEAR"] == 0
    spaced = input_set(box, preset("mp24"), Task.STATIC, molecule=True)
    assert spaced.kpoints.kpts == [(1, 1, 1)]
    assert "KSPACING" not in spaced.incar


def test_what_is_missing_is_named(
    potcars: Path, salt: Structure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    backend, settings = VASPBackend(), preset("fast")
    assert backend.available().ok
    assert backend.unsupported(["Na", "Cl"], settings) is None
    reason = backend.unsupported(["Mg", "Cl"], settings)
    assert reason is not None
    assert "no POTCAR of Mg_pv (PBE)" in reason
    assert str(potcars) in reason
    assert "PMG_VASP_PSP_DIR" in reason
    assert backend.estimate_core_seconds(salt, settings) > 0
    with monkeypatch.context() as patch:
        patch.setenv("DISCOVERY_VASP_COMMAND", "mpirun_of_nobody -n 4 vasp_std")
        assert "mpirun_of_nobody, which is not on PATH" in backend.available().reason
        patch.delenv("DISCOVERY_VASP_COMMAND")
        assert "DISCOVERY_VASP_COMMAND is not set" in backend.available().reason
    with monkeypatch.context() as patch:
        patch.delenv("DISCOVERY_VASP_VERSION")
        assert "DISCOVERY_VASP_VERSION is not set" in backend.available().reason
        with pytest.raises(BackendUnavailable, match="DISCOVERY_VASP_VERSION"):
            _ = backend.version
    with monkeypatch.context() as patch:
        patch.delitem(SETTINGS, "PMG_VASP_PSP_DIR")
        available = backend.available()
        assert not available.ok
        assert "PMG_VASP_PSP_DIR is not set" in available.reason
        patch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", str(tmp_path / "nowhere"))
        assert "is no folder" in backend.available().reason
    broken = potcars / "POT_GGA_PAW_PBE" / "Mg_pv" / "POTCAR"
    broken.parent.mkdir()
    broken.write_text("nothing\n")
    assert "cannot be read" in str(backend.unsupported(["Mg"], settings))


@pytest.mark.parametrize(
    ("options", "cores"),
    [("", 1), ("-np 16", 16), ("-n 4", 4), ("--ntasks=64", 64), ("--bind-to core -n 8", 8)],
)
def test_cores_are_those_of_the_command(
    potcars: Path, monkeypatch: pytest.MonkeyPatch, options: str, cores: int
) -> None:
    program = os.environ["DISCOVERY_VASP_COMMAND"]
    monkeypatch.setenv("DISCOVERY_VASP_COMMAND", f"{program} {options} vasp_std")
    assert VASPBackend().cores == cores


def test_identity_is_code_version_set_and_potcars(
    potcars: Path, salt: Structure, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = load_backend("vasp")
    spec = calculation_spec(backend, salt, backend.settings("standard"), kind="compound")
    assert (spec["code"], spec["version"]) == ("vasp", "6.4.2")
    assert spec["level"].startswith("vasp-6.4.2-pbe-standard-")
    recorded = spec["settings"]["potcars"]
    assert recorded["Na"]["title"] == "PAW_PBE Na_pv 01Jan2000"
    assert len(recorded["Cl"]["sha256"]) == 64
    silicon = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])
    other = calculation_spec(backend, silicon, backend.settings("standard"), kind="compound")
    assert other["level"] == spec["level"]  # a level holds for all elements
    again = calculation_spec(backend, salt, backend.settings("standard"), kind="compound")
    assert again["hash"] == spec["hash"]
    fast = calculation_spec(backend, salt, backend.settings("fast"), kind="compound")
    assert fast["hash"] != spec["hash"]
    monkeypatch.setenv("DISCOVERY_VASP_VERSION", "vasp.5.4.4.18Apr17-6-g9f103f2a35")
    older = calculation_spec(backend, salt, backend.settings("standard"), kind="compound")
    assert older["version"] == "5.4.4"
    assert older["hash"] != spec["hash"]
    monkeypatch.setenv("DISCOVERY_VASP_VERSION", "6.4.2")
    folder = potcars.parent / "others"
    fake_vasp.write_potcars(folder, {"Na": "Na_pv", "Cl": "Cl"})
    newer = folder / "POT_GGA_PAW_PBE" / "Na_pv" / "POTCAR"
    newer.write_text(newer.read_text().replace("01Jan2000", "02Feb2020"))
    monkeypatch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", str(folder))
    changed = calculation_spec(backend, salt, backend.settings("standard"), kind="compound")
    assert changed["hash"] != spec["hash"]
    assert changed["settings"]["potcars"]["Cl"] == recorded["Cl"]


def test_campaign_goes_on_only_with_the_sets_it_started_with(potcars: Path) -> None:
    backend = VASPBackend()
    settings = backend.settings("standard")
    resolved = {"level": backend.level(settings), "settings": settings.record()}
    assert check_recorded(backend, resolved) == settings
    changed = settings.model_copy(update={"data_sets": "pymatgen-MPStaticSet-of-another-time"})
    resolved = {"level": backend.level(changed), "settings": changed.record()}
    with pytest.raises(BackendUnavailable, match="of-another-time"):
        check_recorded(backend, resolved)
    assert VASPSettings.model_validate(settings.record()) == settings
    with pytest.raises(ValueError, match="choose one of fast, standard, mp24, mp24-pbe"):
        preset("accurate")


def test_mp2020_is_strict_with_vasp(hematite: Structure) -> None:
    own = {"run_type": "PBE+U", "potcars": ["PAW_PBE Fe_pv 02Aug2007", "PAW_PBE O 08Apr2002"]}
    found = mp2020_correction(hematite, {"Fe": 5.3}, own)
    # -0.687 eV for each O and -2.256 for each Fe (doi 10.1038/s41598-021-94550-5)
    assert found.per_atom == pytest.approx((3 * -0.687 + 2 * -2.256) / 5, abs=1e-3)
    refused = [
        mp2020_correction(hematite, {}, {**own, "run_type": "PBE"}),
        mp2020_correction(hematite, {"Fe": 4.0}, own),
        mp2020_correction(hematite, {}, {**own, "run_type": "R2SCAN"}),
        mp2020_correction(hematite, {"Fe": 5.3}, {**own, "potcars": ["PAW_PBE Fe 06Sep2000"]}),
    ]
    assert [one.per_atom for one in refused] == [None] * 4
    assert "not R2SCAN" in refused[2].terms[0]
    assert "POTCAR" in refused[3].terms[0]
