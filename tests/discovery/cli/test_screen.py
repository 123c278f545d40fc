"""``discovery screen`` on a person's own files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ase.build import bulk, mx2
from ase.io import write
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner, Result

from agents.screen.megnet import FOLDER, MEGNet
from agents.screen.megnet_golden import golden_crystals
from agents.screen.settings import ScreenSettings
from agents.screen.validity import judge
from discovery.cli import app
from discovery.structures.files import StructureFileError, read_each, read_structures
from model.generator import Generator


def _screen(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["screen", *(str(argument) for argument in arguments)])


def _records(done: Result) -> list[dict[str, Any]]:
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Crystals in every format, and two files that are none."""
    crystals = golden_crystals()
    paths = {name: tmp_path / name for name in ("salt.cif", "POSCAR", "more.extxyz", "bad.cif")}
    crystals["NaCl"].to(filename=str(paths["salt.cif"]), fmt="cif")
    crystals["SrTiO3"].to(filename=str(paths["POSCAR"]), fmt="poscar")
    slab, cluster = mx2("MoS2", vacuum=7.5), bulk("Mg")
    slab.pbc = True
    cluster.pbc = False
    write(paths["more.extxyz"], [bulk("Si", a=5.469), cluster, slab], format="extxyz")
    paths["bad.cif"].write_text("data_nothing\n")
    return paths


@pytest.fixture
def no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISCOVERY_MODELS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("agents.screen.alignn.SHIPPED", tmp_path / "no-alignn")


@pytest.mark.models
def test_every_format_gives_the_numbers_of_the_library(
    files: dict[str, Path], models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISCOVERY_MODELS", str(models_dir))
    windows = ("--window", "band_gap:0.5:2.5", "--window", "formation_energy_per_atom::-0.5")
    records = _records(_screen(*files.values(), "--models", "megnet", *windows, "--json"))
    more = files["more.extxyz"]
    names = [str(files["salt.cif"]), str(files["POSCAR"]), *(f"{more}#{i}" for i in (1, 2, 3))]
    assert [record["id"] for record in records] == [*names, str(files["bad.cif"])]
    assert [record["formula"] for record in records] == ["NaCl", "SrTiO3", "Si", None, "MoS2", None]
    errors = [record["error"] for record in records]
    assert "no cell that is periodic" in errors[3]
    assert "cannot be read as CIF" in errors[5]
    assert [error for i, error in enumerate(errors) if i not in (3, 5)] == [None] * 4
    crystals = read_each(list(files.values()))
    megnet = MEGNet.load(models_dir / FOLDER)
    for record in (records[0], records[1], records[2], records[4]):
        crystal = crystals[record["id"]]
        assert isinstance(crystal, Structure)
        [expected] = megnet.predict([crystal], on="given")
        assert isinstance(expected, list)
        for told, known in zip(record["predictions"], expected, strict=True):
            assert told["value"] == pytest.approx(known.value, abs=2e-5)
            told["value"] = known.value
            assert told == known.record()
        assert record["validity"]["valid"] is judge(crystal, ScreenSettings()).valid
    verdicts = {r["formula"]: r["consensus"] for r in records if r["consensus"]}
    assert verdicts["SrTiO3"]["outside"] == verdicts["SrTiO3"]["unjudged"] == []
    assert verdicts["NaCl"]["outside"] == ["band_gap"]
    assert verdicts["Si"]["outside"] == ["formation_energy_per_atom"]
    assert verdicts["MoS2"]["unjudged"] == ["band_gap", "formation_energy_per_atom"]
    (reason,) = records[4]["predictions"][0]["out_of_domain"]
    assert reason.startswith("vacuum:")


@pytest.mark.models
def test_the_rule_of_agreement_is_an_option(
    files: dict[str, Path], models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISCOVERY_MODELS", str(models_dir))
    asked = (files["POSCAR"], "--models", "megnet,head", "--generator", "perov5")
    window = ("--window", "band_gap:0.5:2.5", "--json")
    [record] = _records(_screen(*asked, "--agreement", "2", *window))
    assert record["consensus"]["unjudged"] == ["band_gap"]  # the head is not proven
    assert {p["model"] for p in record["predictions"]} == {"megnet", "head"}
    [record] = _records(_screen(*asked, "--min-p-gap", "0.95", *window))
    assert record["consensus"]["outside"] == ["p_gap"]  # it is 0.906
    [record] = _records(_screen(*asked, "--min-p-gap", "0.95", "--classifier", "off", *window))
    assert record["consensus"]["outside"] == []
    [record] = _records(_screen(files["salt.cif"], "--models", "megnet", "--json"))
    assert record["consensus"] is None


@pytest.mark.usefixtures("no_models")
def test_rules_and_head_without_any_other_model(files: dict[str, Path]) -> None:
    done = _screen(files["POSCAR"], files["salt.cif"], "--generator", "perov5", "--json")
    titanate, salt = _records(done)
    head = Generator.load("perov5").head
    assert {p["version"] for p in titanate["predictions"]} == {head.version}
    assert "DISCOVERY_MODELS" in titanate["not_predicted"]["megnet"]
    assert "head" in salt["not_predicted"]  # rock salt is no perovskite
    [lead] = _records(_screen(_lead(files), "--exclude", "toxic", "--json"))
    assert lead["validity"]["failed"] == ["toxic"]
    assert lead["validity"]["toxic"] == ["Pb"]


def _lead(files: dict[str, Path]) -> Path:
    path = files["salt.cif"].with_name("lead.cif")
    golden_crystals()["NaCl"].replace_species({"Na": "Pb", "Cl": "S"}).to(
        filename=str(path), fmt="cif"
    )
    return path


@pytest.mark.usefixtures("no_models")
def test_a_campaign_gives_the_rules_and_options_change_them(
    files: dict[str, Path], tmp_path: Path
) -> None:
    campaign = tmp_path / "own.yaml"
    campaign.write_text(
        "name: own\ngenerator: perov5\ntargets: [{property: band_gap, min: 0.5, max: 2.5}]\n"
        "propose: {proposers: [{kind: random}]}\n"
        "screen: {models: [head], max_atoms: 4, agreement: 1, exclude: [scarce]}\n"
    )
    own = (files["POSCAR"], "--campaign", campaign, "--json")
    [record] = _records(_screen(*own))
    assert {p["model"] for p in record["predictions"]} == {"head"}
    assert record["validity"]["failed"] == ["n_atoms"]
    assert record["validity"]["settings"]["exclude"] == ["scarce"]
    consensus = record["consensus"]
    assert consensus["windows"] == ["0.5 <= band_gap <= 2.5 eV"]
    assert (consensus["agreement"], consensus["classifier"]) == (1, "if_present")
    options = ("--agreement", "all", "--exclude", "toxic", "--window", "band_gap:1:2")
    [record] = _records(_screen(*own, *options))
    assert record["validity"]["settings"]["exclude"] == ["toxic"]
    assert record["consensus"]["windows"] == ["1 <= band_gap <= 2 eV"]
    assert record["consensus"]["agreement"] == "all"


@pytest.mark.usefixtures("no_models")
def test_people_get_a_table_and_the_reasons(files: dict[str, Path]) -> None:
    done = _screen(files["POSCAR"], files["bad.cif"], "--generator", "perov5")
    assert done.exit_code == 0, done.output
    assert "SrTiO3" in done.stdout
    assert "E_f head" in done.stdout
    assert "head: unproven" in done.stdout
    assert "bad.cif cannot be read" in done.stderr
    assert "megnet is not asked" in done.stderr


@pytest.mark.usefixtures("no_models")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--models", "cgcnn"], "unknown model 'cgcnn'"),
        (["--models", "head"], "--generator"),
        (["--models", "megnet"], "DISCOVERY_MODELS"),
        (["--window", "gap:1:2"], "is no window"),
        (["--window", "band_gap:3:1"], "is empty"),
        (["--window", "band_gap:low:1"], "write band_gap:0.5:2.5"),
        (["--classifier", "maybe"], "classifier"),
        (["--agreement", "most"], "agreement"),
        (["--exclude", "smelly"], "exclude"),
    ],
)
def test_wrong_use_is_named(files: dict[str, Path], arguments: list[str], said: str) -> None:
    done = _screen(files["POSCAR"], *arguments)
    assert done.exit_code != 0
    assert said in str(done.exception)
    assert done.stdout == ""


@pytest.mark.usefixtures("no_models")
def test_only_broken_files_exit_with_one(files: dict[str, Path], tmp_path: Path) -> None:
    done = _screen(files["bad.cif"], tmp_path / "absent.cif", "--json")
    assert done.exit_code == 1
    assert [record["error"] is not None for record in json.loads(done.stdout)] == [True, True]


def test_broken_crystals_do_not_hide_the_others_of_a_file(files: dict[str, Path]) -> None:
    read = read_each([files["more.extxyz"], files["bad.cif"]])
    assert [isinstance(one, StructureFileError) for one in read.values()] == [
        False,
        True,
        False,
        True,
    ]
    with pytest.raises(StructureFileError, match="no cell that is periodic"):
        read_structures([files["more.extxyz"]])
    mixed = files["bad.cif"].with_name("mixed.cif")
    Structure(Lattice.cubic(4), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]]).to(
        filename=str(mixed), fmt="cif"
    )
    [error] = read_each([mixed]).values()
    assert "partially occupied" in str(error)
