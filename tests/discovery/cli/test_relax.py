"""``discovery relax`` on a person's own files, and a campaign that names a test model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import read, write
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner, Result

from agents.relax.batch import relax
from agents.relax.potential import load_potential
from agents.relax.settings import RelaxSettings
from discovery.campaign.config import load_campaign
from discovery.campaign.resolution import RefusedTestModel, resolve
from discovery.cli import app
from discovery.structures.files import StructureFileError, read_structures


@pytest.fixture
def salt(tmp_path: Path) -> dict[str, Path]:
    """Rock salt, strained, in every format."""
    atoms = bulk("NaCl", "rocksalt", a=5.9)
    structure = Structure(atoms.cell.array, ["Na", "Cl"], atoms.get_scaled_positions())
    paths = {name: tmp_path / name for name in ("salt.cif", "POSCAR", "salts.extxyz")}
    structure.to(filename=str(paths["salt.cif"]), fmt="cif")
    structure.to(filename=str(paths["POSCAR"]), fmt="poscar")
    write(paths["salts.extxyz"], [atoms, bulk("Mg", "hcp", a=3.2, c=5.2)], format="extxyz")
    return paths


def _relax(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["relax", *(str(argument) for argument in arguments)])


def test_every_format_gives_the_relaxation_of_the_library(salt: dict[str, Path]) -> None:
    done = _relax(*salt.values(), "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["potential"]["level"] == "chgnet-0.3.0"
    assert not document["potential"]["test_model"]
    names = [crystal["id"] for crystal in document["crystals"]]
    extxyz = salt["salts.extxyz"]
    assert names == [str(salt["salt.cif"]), str(salt["POSCAR"]), f"{extxyz}#1", f"{extxyz}#2"]
    given = read_structures([salt["POSCAR"]])[str(salt["POSCAR"])]
    expected = relax(given, load_potential("chgnet"), RelaxSettings())
    for crystal in document["crystals"][:3]:
        assert crystal["formula"] == "NaCl"
        assert crystal["energy"] / crystal["n_atoms"] == pytest.approx(
            expected.energy / 2, abs=1e-3
        )
        assert crystal["formation_energy_per_atom"] == pytest.approx(-2.08, abs=0.03)
        assert crystal["max_force"] < 0.03
        assert crystal["steps"] > 0
        assert (crystal["stop"], crystal["verdict"]) == ("converged", "accepted")
    assert document["crystals"][3]["formula"] == "Mg"


def test_a_second_potential_and_files_of_the_result(salt: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "relaxed.extxyz"
    second = ("--second-potential", "openlam-test")
    done = _relax(salt["POSCAR"], *second, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    (crystal,) = json.loads(done.stdout)["crystals"]
    opinion = crystal["second_potential"]
    assert opinion["level"].startswith("openlam-test-")
    difference = abs(opinion["formation_energy_per_atom"] - crystal["formation_energy_per_atom"])
    assert crystal["verdict"] == ("accepted" if difference <= 0.2 else "potential_disagreement")
    (atoms,) = read(out, index=":")
    energy = load_potential("chgnet").energies([read_structures([out])[str(out)]])[0]
    assert energy == pytest.approx(crystal["energy"], abs=1e-3)
    assert atoms.info["id"] == str(salt["POSCAR"])
    folder = tmp_path / "cifs"
    done = _relax(salt["POSCAR"], salt["salt.cif"], "--max-steps", 0, "--out", folder)
    assert done.exit_code == 0, done.output
    assert "max_force" not in done.stdout
    assert sorted(path.name for path in folder.iterdir()) == ["00001-NaCl.cif", "00002-NaCl.cif"]


def test_the_deepmd_path_relaxes_files_and_says_that_it_is_a_test(salt: dict[str, Path]) -> None:
    done = _relax(salt["POSCAR"], "--potential", "openlam-test", "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["potential"]["test_model"]
    assert "is a test model" in done.stderr
    (crystal,) = document["crystals"]
    assert crystal["converged"]
    assert crystal["formation_energy_per_atom"] == pytest.approx(-2.0, abs=0.2)


def test_what_cannot_be_relaxed_is_reported_and_does_not_stop_the_others(
    salt: dict[str, Path], tmp_path: Path
) -> None:
    dense = tmp_path / "dense.cif"
    Structure(Lattice.cubic(1.0), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]).to(
        filename=str(dense), fmt="cif"
    )
    polonium = tmp_path / "polonium.cif"
    Structure(Lattice.cubic(3.3), ["Po"], [[0, 0, 0]]).to(filename=str(polonium), fmt="cif")
    done = _relax(dense, polonium, salt["POSCAR"], "--json")
    assert done.exit_code == 0, done.output
    verdicts = [crystal["verdict"] for crystal in json.loads(done.stdout)["crystals"]]
    assert verdicts == ["volume", "unsupported_elements", "accepted"]
    alone = _relax(dense)
    assert alone.exit_code == 1
    assert "volume" in alone.stdout


def test_files_that_hold_no_crystal_are_named(salt: dict[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.cif"
    broken.write_text("data_nothing\n")
    with pytest.raises(StructureFileError, match=r"broken\.cif cannot be read as CIF"):
        read_structures([broken])
    with pytest.raises(StructureFileError, match="there is no file"):
        read_structures([tmp_path / "absent.cif"])
    molecule = tmp_path / "molecule.xyz"
    molecule.write_text("1\n\nH 0 0 0\n")
    with pytest.raises(StructureFileError, match="no cell that is periodic"):
        read_structures([molecule])
    mixed = tmp_path / "mixed.cif"
    Structure(Lattice.cubic(4), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]]).to(
        filename=str(mixed), fmt="cif"
    )
    with pytest.raises(StructureFileError, match="partially occupied"):
        read_structures([mixed])
    charged = tmp_path / "charged.cif"
    Structure(Lattice.cubic(3), ["Cs+", "Cl-"], [[0, 0, 0], [0.5, 0.5, 0.5]]).to(
        filename=str(charged), fmt="cif"
    )
    (structure,) = read_structures([charged]).values()
    assert [site.specie.symbol for site in structure] == ["Cs", "Cl"]
    assert np.isclose(structure.volume, 27)


def test_a_campaign_refuses_a_test_model() -> None:
    quickstart = load_campaign("quickstart")
    for key in ("potential", "second_potential"):
        settings = quickstart.relax.model_copy(update={key: "openlam-test"})
        config = quickstart.model_copy(update={"relax": settings})
        with pytest.raises(RefusedTestModel, match=r"openlam-test .* is a test model"):
            resolve(config)


def test_the_catalogue_checks_lists_and_refuses_potentials(tmp_path: Path) -> None:
    run = CliRunner().invoke
    listed = {
        entry["name"]: entry for entry in json.loads(run(app, ["models", "list", "--json"]).stdout)
    }
    assert listed["openlam-test"]["note"] == "test model; no campaign may use it"
    assert "discovery models fetch DPA-3.1-3M" in listed["DPA-3.1-3M"]["note"]
    checked = run(app, ["models", "check", "openlam-test", "--json"])
    assert checked.exit_code == 0
    report = json.loads(checked.stdout)
    assert report["verdict"] == "accepted"
    assert any("golden pressure" in line for line in report["checks"])
    unknown = run(app, ["models", "check", "dpa-9"])
    assert unknown.exit_code == 1
    assert "DPA-3.1-3M" in str(unknown.exception)
    unfetched = run(app, ["models", "fetch", "dpa-9"])
    assert "no weights are published as 'dpa-9'" in str(unfetched.exception)
