"""A laboratory's files: levels of theory, references, formation energies, refusals."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import ulm, write
from fake_vasp import write_vasprun
from pymatgen.core import Lattice, Structure

from agents.verify.imported import calculation as imported
from agents.verify.imported.store import ImportReport, import_folder
from agents.verify.properties.references import diatomic, reference_structure
from db import calculations
from db.connection import Session
from db.documents import Calculation

INCAR = {"ENCUT": 520.0, "ISPIN": 2, "PREC": "Accurate", "ISMEAR": 0}
TITLES = {
    "Na": "PAW_PBE Na_pv 19Sep2006",
    "Cl": "PAW_PBE Cl 06Sep2000",
    "O": "PAW_PBE O 08Apr2002",
    "Fe": "PAW_PBE Fe_pv 02Aug2007",
}


def rocksalt(cation: str, anion: str, a: float) -> Structure:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5]]
    cubic = Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), [cation, anion], sites)
    return cubic.get_primitive_structure()


SALT = rocksalt("Na", "Cl", 5.69)
SODIUM = reference_structure("Na")
CHLORINE = diatomic("Cl", 2.0, 4.0)


def vasprun(path: Path, structure: Structure, mesh: Any = (6, 6, 6), **options: Any) -> Path:
    """Write a vasprun.xml of a laboratory's level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    incar = {**INCAR, **options.pop("incar", {})}
    return write_vasprun(path, structure, incar=incar, mesh=mesh, titles=TITLES, **options)


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A folder with rock salt and both of its elements."""
    vasprun(tmp_path / "NaCl" / "vasprun.xml", SALT, energy=-6.8)
    plain = vasprun(tmp_path / "Na" / "vasprun.xml", SODIUM, (9, 9, 9), energy=-1.3 * len(SODIUM))
    plain.with_suffix(".xml.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    vasprun(tmp_path / "Cl2" / "vasprun.xml", CHLORINE, (1, 1, 1), energy=-3.6)
    (tmp_path / "NaCl" / "INCAR").write_text("ENCUT = 520\n")
    return tmp_path


def entry(report: ImportReport, path: str) -> dict[str, Any]:
    (found,) = [one for one in report.imported if one["path"] == path]
    return found


def test_vasprun_files_become_a_level_with_references_and_formation_energies(
    database: Session, lab: Path
) -> None:
    report = import_folder(lab)
    assert report.refused == {}
    assert report.ignored == 1
    (level,) = report.levels
    assert level.startswith("vasp-6.4.2-pbe-imported-")
    assert report.levels[level] == {
        "compounds": 1,
        "references": ["Cl", "Na"],
        "with_formation_energy": 1,
        "missing_references": {},
    }
    salt = calculations.load(entry(report, "NaCl/vasprun.xml")["hash"])
    assert (salt.state, salt.kind, salt.code, salt.version) == (
        "completed",
        "compound",
        "vasp",
        "6.4.2",
    )
    assert salt.settings["cutoff"] == 520
    assert salt.settings["data_sets"] == {"Na": TITLES["Na"], "Cl": TITLES["Cl"]}
    assert salt.result["band_gap"] > 4
    formation = salt.info["formation"]
    assert formation["formation_energy_per_atom"] == pytest.approx(-3.4 + 1.3 / 2 + 1.8 / 2)
    corrected = formation["formation_energy_per_atom_mp2020"]
    assert corrected == pytest.approx(-1.85 - 0.614 / 2)  # MP2020: -0.614 eV for each Cl
    assert salt.info["imported"]["path"] == "NaCl/vasprun.xml"
    assert len(salt.info["imported"]["sha256"]) == 64
    assert entry(report, "Na/vasprun.xml.gz")["kind"] == "reference"
    again = import_folder(lab)
    assert [one["new"] for one in again.imported] == [False] * 3
    assert Calculation.objects.count() == 3


def test_files_that_vasp_wrote_are_read(database: Session, tmp_path: Path) -> None:
    """Two outputs of VASP 6.3 that come with ASE's tests."""
    shipped = Path(ase.__file__).parent / "test" / "testdata" / "vasp"
    for name in ("vasprun_dfpt.xml", "vasprun_pstress.xml"):
        (tmp_path / name).write_bytes((shipped / name).read_bytes())
    report = import_folder(tmp_path)
    assert "enthalpy under 0.1 GPa" in report.refused["vasprun_pstress.xml"]
    salt = calculations.load(entry(report, "vasprun_dfpt.xml")["hash"])
    assert salt.formula == "NaCl"
    assert (salt.version, salt.settings["xc"], salt.settings["cutoff"]) == ("6.3.2", "PBE", 400.0)
    assert salt.settings["data_sets"] == {
        "Na": "PAW_PBE Na 08Apr2002",
        "Cl": "PAW_PBE Cl 06Sep2000",
    }
    read = ase.io.read(shipped / "vasprun_dfpt.xml")  # another parser
    assert salt.result["energy"] == pytest.approx(read.get_potential_energy())
    values = read.calc.get_eigenvalues(kpt=0)
    assert salt.result["direct"]
    assert salt.result["band_gap"] == pytest.approx(values[4] - values[3], abs=1e-3)


def test_groups_of_one_element_and_functionals_of_the_potcars(
    database: Session, tmp_path: Path
) -> None:
    order = [0, 1, 0, 1]  # Na Cl Na Cl: four groups in the POSCAR
    double = SALT.make_supercell([1, 1, 2], in_place=False).get_sorted_structure()
    mixed = Structure.from_sites([double[2 * (i % 2) + i // 2] for i in range(len(order))])
    path = vasprun(tmp_path / "vasprun.xml", mixed, (6, 6, 3), incar={"GGA": "--"})
    types = "".join(
        f"<rc><c>1</c><c>{site.specie.symbol}</c><c>1.0</c><c>7.0</c>"
        f"<c>{TITLES[site.specie.symbol]}</c></rc>"
        for site in mixed
    )
    start = path.read_text().index('<array name="atomtypes">')
    end = path.read_text().index("</atominfo>")
    text = path.read_text()
    path.write_text(f'{text[:start]}<array name="atomtypes"><set>{types}</set></array>{text[end:]}')
    report = import_folder(tmp_path)
    assert report.refused == {}
    stored = calculations.load(report.imported[0]["hash"])
    assert stored.settings["data_sets"] == {"Na": TITLES["Na"], "Cl": TITLES["Cl"]}
    assert stored.settings["xc"] == "PBE"
    path.write_text(path.read_text().replace(TITLES["Na"], "PAW_PBE Na 08Apr2002", 1))
    assert "two POTCARs of Na" in import_folder(tmp_path).refused["vasprun.xml"]


def test_references_count_only_at_the_same_level_and_with_the_same_potcars(
    database: Session, tmp_path: Path
) -> None:
    vasprun(tmp_path / "NaCl" / "vasprun.xml", SALT, energy=-6.8)
    vasprun(tmp_path / "Cl2" / "vasprun.xml", CHLORINE, (1, 1, 1), energy=-3.6)
    other = {**TITLES, "Na": "PAW_PBE Na 08Apr2002"}
    write_vasprun(tmp_path / "vasprun.na.xml", SODIUM, incar=INCAR, mesh=(9, 9, 9), titles=other)
    incar = {"ENCUT": 400.0}
    vasprun(tmp_path / "low" / "vasprun.xml", SODIUM, (9, 9, 9), incar=incar)
    report = import_folder(tmp_path)
    assert len(report.levels) == 2  # 520 and 400 eV
    level = entry(report, "NaCl/vasprun.xml")["level"]
    assert report.levels[level]["missing_references"] == {"Na": 1}
    assert report.levels[level]["with_formation_energy"] == 0
    vasprun(tmp_path / "later" / "vasprun.xml", SODIUM, (9, 9, 9), energy=-1.3 * len(SODIUM))
    later = import_folder(tmp_path / "later")  # another time, another folder
    assert later.levels[level]["with_formation_energy"] == 1


def test_a_compound_with_u_has_no_raw_formation_energy(database: Session, tmp_path: Path) -> None:
    iron = reference_structure("Fe")
    oxide = rocksalt("Fe", "O", 4.3)
    hubbard = {"LDAU": True, "LDAUU": [5.3, 0.0], "LDAUJ": [0.0, 0.0], "LDAUTYPE": 2}
    vasprun(tmp_path / "vasprun.FeO.xml", oxide, incar=hubbard, energy=-14.0)
    vasprun(tmp_path / "vasprun.Fe.xml", iron, (9, 9, 9), energy=-8.3 * len(iron))
    vasprun(tmp_path / "vasprun.O2.xml", diatomic("O", 1.23, 4.0), (1, 1, 1), energy=-9.8)
    report = import_folder(tmp_path)
    assert report.refused == {}
    oxide_level = entry(report, "vasprun.FeO.xml")["level"]
    assert oxide_level != entry(report, "vasprun.Fe.xml")["level"]
    assert "+u-imported" in oxide_level
    found = calculations.load(entry(report, "vasprun.FeO.xml")["hash"]).info["formation"]
    assert found["formation_energy_per_atom"] is None
    raw = -7.0 + (8.3 + 4.9) / 2
    expected = raw + (-2.256 - 0.687) / 2  # MP2020 for Fe with U, and for oxides
    assert found["formation_energy_per_atom_mp2020"] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iterations": 6}, "SCF stopped at its limit of 6 iterations"),
        ({"incar": {"ICHARG": 11}}, "kept fixed (ICHARG = 11)"),
        ({"incar": {"IBRION": 0, "NSW": 50, "EDIFFG": -0.02}}, "molecular dynamics"),
        ({"mesh": (2, 2, 2)}, "fewer than --min-k-density"),
        ({"incar": {"NSW": 3, "IBRION": 2}, "ionic_steps": 3}, "limit of 3 steps (NSW)"),
        ({"energy": float("nan")}, "no total energy"),
        ({"incar": {"LEPSILON": True}}, "cannot be read as VASP's"),  # it has other steps
    ],
)
def test_what_is_no_converged_energy_is_refused_with_the_reason(
    database: Session, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    vasprun(tmp_path / "vasprun.xml", SALT, **change)
    report = import_folder(tmp_path)
    assert reason in report.refused["vasprun.xml"]
    assert Calculation.objects.count() == 0


def test_broken_and_hostile_files_are_refused_and_the_others_go_on(
    database: Session, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = (lab / "NaCl" / "vasprun.xml").read_text()
    bad = lab / "bad"
    bad.mkdir()
    (bad / "vasprun.cut.xml").write_text(good[: len(good) // 2])
    (bad / "vasprun.none.xml").write_text("<html></html>")
    entity = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    (bad / "vasprun.entity.xml").write_text(good.replace("<modeling>", f"{entity}<modeling>", 1))
    (bad / "vasprun.packed.xml.gz").write_bytes(b"\x1f\x8b nonsense")
    (bad / "notes.gpw").write_text("no GPAW")
    (bad / "notes.json").write_text("{")
    (bad / "custodian.json").write_text('[{"corrections": []}]')
    report = import_folder(lab)
    reasons = {path.removeprefix("bad/"): reason for path, reason in report.refused.items()}
    assert "cut off or no XML" in reasons["vasprun.cut.xml"]
    assert "does not begin with <modeling>" in reasons["vasprun.none.xml"]
    assert "declares a document type" in reasons["vasprun.entity.xml"]
    assert "cannot be unpacked" in reasons["vasprun.packed.xml.gz"]
    assert "cannot be read as GPAW's" in reasons["notes.gpw"]
    assert "cannot be read as JSON" in reasons["notes.json"]
    assert "custodian.json" not in reasons
    assert report.ignored == 2  # and an INCAR
    assert len(report.imported) == 3
    monkeypatch.setattr(imported, "MAX_BYTES", 1000)
    small = import_folder(lab / "NaCl")
    assert "more than" in small.refused["vasprun.xml"]


def gpw(path: Path, structure: Structure, energy: float | None, **parameters: Any) -> None:
    """Write a .gpw in GPAW's layout: the container is ASE's, and no GPAW is needed."""
    mesh = 6
    grid = np.array(list(np.ndindex(mesh, mesh, mesh))) / mesh - 0.5 + 0.5 / mesh
    n = 6 * len(structure)
    eigenvalues = np.tile(np.arange(n, dtype=float), (1, 4, 1))
    occupations = (np.arange(n) < n // 2).astype(float) * np.ones((1, 4, 1))
    with ulm.open(path, "w", tag="gpaw") as writer:
        writer.write(version=7, gpaw_version="26.7.0", ha=27.2, bohr=0.529)
        writer.child("atoms").write(
            numbers=np.array([site.specie.Z for site in structure]),
            positions=structure.cart_coords,
            cell=structure.lattice.matrix,
            pbc=[True] * 3,
        )
        results = writer.child("results")
        results.write(forces=np.zeros((len(structure), 3)))
        if energy is not None:
            results.write(energy=energy)
        given = {"mode": {"name": "pw", "ecut": 500.0}, "xc": {"name": "PBE"}, **parameters}
        writer.child("parameters").write(**given)
        waves = writer.child("wave_functions")
        waves.write(
            fermi_levels=np.array([n // 2 - 0.5]), eigenvalues=eigenvalues, occupations=occupations
        )
        waves.child("kpts").write(bzkpts=grid, weights=np.full(4, 0.25))


def test_gpaw_files_have_their_level(database: Session, tmp_path: Path) -> None:
    gpw(tmp_path / "salt.gpw", SALT, -6.8)
    gpw(tmp_path / "u.gpw", SALT, -6.7, setups={"default": "paw", "Na": ":d,2.5"})
    gpw(tmp_path / "rpbe.gpw", SALT, -6.9, xc={"name": "RPBE"})
    for functional in ("PBE", "RPBE"):
        for element, crystal in (("Na", SODIUM), ("Cl", CHLORINE)):
            name = tmp_path / f"{functional}-{element}.gpw"
            gpw(name, crystal, -1.5 * len(crystal), xc={"name": functional})
    gpw(tmp_path / "unfinished.gpw", SALT, None)
    gpw(tmp_path / "lcao.gpw", SALT, -6.0, mode={"name": "lcao"})
    report = import_folder(tmp_path)
    salt = entry(report, "salt.gpw")
    assert salt["level"].startswith("gpaw-26.7.0-pbe-imported-")
    assert salt["band_gap"] == pytest.approx(1.0)
    stored = calculations.load(salt["hash"])
    assert stored.settings["cutoff"] == 500
    assert stored.result["k_points"] == [6, 6, 6]
    formation = stored.info["formation"]
    assert formation["formation_energy_per_atom"] == pytest.approx(-3.4 + 1.5)
    assert formation["formation_energy_per_atom_mp2020"] == pytest.approx(-1.9 - 0.614 / 2)
    other = calculations.load(entry(report, "rpbe.gpw")["hash"]).info["formation"]
    assert other["formation_energy_per_atom"] == pytest.approx(-3.45 + 1.5)
    assert other["formation_energy_per_atom_mp2020"] is None  # fitted to PBE
    with_u = calculations.load(entry(report, "u.gpw")["hash"])
    assert with_u.settings["hubbard_u"] == {"Na": 2.5}
    assert "holds no energy" in report.refused["unfinished.gpw"]
    assert "its mode is lcao" in report.refused["lcao.gpw"]


def test_extended_xyz_needs_the_name_of_its_level(database: Session, tmp_path: Path) -> None:
    frames = [bulk("NaCl", "rocksalt", a=a) for a in (5.6, 5.7, 5.8)]
    for atoms, energy in zip(frames[:2], (-6.7, -6.8), strict=True):
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.zeros((2, 3)))
    frames[1].info["band_gap"] = 5.1
    write(tmp_path / "lab.extxyz", frames, format="extxyz")
    refused = import_folder(tmp_path)
    assert "name it with --level" in refused.refused["lab.extxyz"]
    report = import_folder(tmp_path, level="pbe-lab")
    assert [one["path"] for one in report.imported] == ["lab.extxyz#1", "lab.extxyz#2"]
    assert {one["level"] for one in report.imported} == {"pbe-lab"}
    assert report.imported[1]["band_gap"] == 5.1
    assert report.refused == {"lab.extxyz#3": "it has no energy"}
    assert report.levels["pbe-lab"]["missing_references"] == {"Cl": 2, "Na": 2}


def test_records_of_our_own_come_back_under_their_hash(
    database: Session, lab: Path, backend: Any, dft: Any
) -> None:
    from agents.verify.identity import calculation_spec
    from agents.verify.imported.text import read_record

    spec = calculation_spec(backend, SALT, dft, kind="compound")
    record = {**spec, "state": "completed", "result": {"energy": -6.8, "energy_per_atom": -3.4}}
    path = lab / "own.json"
    path.write_text(json.dumps([record, {**record, "formula": "NaCl", "version": "changed"}]))
    good, bad = read_record(path, "own.json")
    assert isinstance(good, dict)
    assert bad == ("own.json#2", "its hash is not that of its contents: it was changed, or is "
                   "incomplete")  # fmt: skip
    import_folder(lab)
    stored = calculations.load(spec["hash"])
    assert stored.state == "completed"
    assert stored.level == spec["level"]
    from agents.verify.identity import find_equal

    assert find_equal(spec) == spec["hash"]  # so that a campaign does not pay again


def test_a_calculation_of_a_preset_is_found_by_a_campaign(
    database: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made by pymatgen's set as the preset would, it is of that level and answers its spec."""
    import vasp_site
    from pymatgen.io.vasp.sets import MPStaticSet

    from agents.verify.backend import load_backend
    from agents.verify.identity import calculation_spec, find_equal

    vasp_site.install(tmp_path / "site", monkeypatch)
    titles = {"Na": "PAW_PBE Na_pv 01Jan2000", "Cl": "PAW_PBE Cl 01Jan2000"}
    own = MPStaticSet(SALT)
    incar = {**dict(own.incar), "NELM": 100, "ALGO": "Normal"}
    mesh = own.kpoints.kpts[0]
    for name, change in {
        "same": {},
        "smearing": {"ISMEAR": 0, "SIGMA": 0.2},
        "cutoff": {"ENCUT": 600.0},
        "loose": {"EDIFF": 1e-3},
        "order": {"MAGMOM": [0.6, -0.6]},
    }.items():
        path = tmp_path / "lab" / f"vasprun.{name}.xml"
        path.parent.mkdir(exist_ok=True)
        given = {**incar, **change}
        write_vasprun(path, SALT, incar=given, mesh=mesh, titles=titles, energy=-6.8)
    report = import_folder(tmp_path / "lab")
    assert report.refused == {}
    presets = {one["path"]: one["preset"] for one in report.imported}
    assert presets.pop("vasprun.same.xml") == "standard"
    assert set(presets.values()) == {None}
    backend = load_backend("vasp")
    level = backend.settings("standard")
    static = calculation_spec(backend, SALT, level, kind="compound", options={"gap": False})
    assert find_equal(static) == entry(report, "vasprun.same.xml")["hash"]
    assert entry(report, "vasprun.same.xml")["level"] == backend.level(level)
    confirmed = calculation_spec(backend, SALT, level, kind="compound", options={"gap": True})
    assert find_equal(confirmed) is None  # its gap was seen on one mesh only
    monkeypatch.setenv("DISCOVERY_VASP_VERSION", "6.3.0")
    other = import_folder(tmp_path / "lab")
    assert entry(other, "vasprun.same.xml")["preset"] is None
