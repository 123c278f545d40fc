"""``discovery generate``: from conditions on a command line to files of crystals."""

from __future__ import annotations

import json
from pathlib import Path

import ase.io
import pytest
from pymatgen.core import Structure
from typer.testing import CliRunner

from discovery.campaign.config import ConfigError
from discovery.cli import app
from discovery.models.generation import GenerationError, read_conditions
from model.generator import Generator
from model.prior.code_prior import CodePrior
from model.prior.settings import PriorConfig
from model.prior.tables import network_tables
from model.prior.training import fit_prior

TARGETS = ("band_gap@pbe", "formation_energy_per_atom@pbe", "formation_energy_per_atom@chgnet")


@pytest.fixture(scope="module")
def perov5() -> Generator:
    """The Perov-5 generator with a prior trained for a moment on a few rows."""
    generator = Generator.load("perov5")
    rows = [*generator.bank.rows("train")[:200], *generator.bank.rows("val")[:50]]
    bank = type(generator.bank).from_codes(
        [generator.bank.codes(int(i)) for i in rows],
        ids=generator.bank.ids[rows],
        formulas=generator.bank.formulas[rows],
        role=generator.bank.role[rows],
        properties={},
    )
    generator.bank = bank
    config = PriorConfig(width=32, heads=2, blocks=1, expansion=2, epochs=4, batch_size=32)
    prior: CodePrior = fit_prior(bank, network_tables(generator), config, seed=0)
    generator.prior = prior
    return generator


@pytest.fixture
def run(perov5: Generator, monkeypatch: pytest.MonkeyPatch):
    """Call the command with that generator."""
    monkeypatch.setattr(Generator, "load", lambda name: perov5)

    def call(*arguments: str):
        return CliRunner().invoke(app, ["generate", "--checkpoint", "perov5", *arguments])

    return call


def test_a_document_says_what_was_drawn_and_by_whom(run, perov5):
    result = run("--n", "6", "--seed", "3", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["prior_version"] == perov5.prior.version
    assert document["generator_version"] == perov5.version
    assert (document["asked"], document["drawn"], document["seed"]) == (6, 6, 3)
    assert len(document["crystals"]) == 6
    assert document["invalid"] == sum(c["error"] is not None for c in document["crystals"])
    valid = next(c for c in document["crystals"] if c["error"] is None)
    structure = Structure.from_dict(valid["structure"])
    assert structure.composition.reduced_formula == valid["formula"]
    assert json.loads(run("--n", "6", "--seed", "3", "--json").stdout) == document


def test_a_formula_is_met_in_cif_files(run, tmp_path: Path):
    result = run("--formula", "SrTiO3", "--n", "3", "--out", str(tmp_path / "cifs"))
    assert result.exit_code == 0, result.output
    files = sorted((tmp_path / "cifs").glob("*.cif"))
    assert files
    assert {Structure.from_file(f).composition.reduced_formula for f in files} == {"SrTiO3"}


def test_extxyz_and_json_files(run, tmp_path: Path):
    assert run("--n", "4", "--out", str(tmp_path / "all.extxyz")).exit_code == 0
    assert run("--n", "4", "--out", str(tmp_path / "all.json")).exit_code == 0
    document = json.loads((tmp_path / "all.json").read_text())
    images = ase.io.read(tmp_path / "all.extxyz", index=":")
    assert len(images) == 4 - document["invalid"]
    assert images[0].info["prior"] == document["prior_version"]


def test_a_checkpoint_without_a_prior_says_so(run, perov5, monkeypatch):
    monkeypatch.setattr(perov5, "prior", None)
    result = run("--n", "1")
    assert isinstance(result.exception, GenerationError)
    assert "has no prior" in str(result.exception)


def test_impossible_conditions_end_in_their_reason(run):
    result = run("--formula", "SrTiO3", "--z", "4")
    assert "formula units" in str(result.exception)


def test_another_file_ending_is_refused(run, tmp_path: Path):
    result = run("--n", "1", "--out", str(tmp_path / "crystals.xyz"))
    assert isinstance(result.exception, GenerationError)


def test_conditions_are_read_as_written():
    conditions = read_conditions(
        targets=TARGETS,
        chemsys="Li-Fe-O",
        contains="Li,O",
        without="Pb",
        n_atoms="4:12",
        windows=["band_gap:0.5:2.5"],
    )
    assert conditions.chemical_system == {"Li", "Fe", "O"}
    assert conditions.must_contain == {"Li", "O"}
    assert conditions.must_not_contain == {"Pb"}
    assert conditions.n_atoms == (4, 12)
    assert conditions.windows == {"band_gap@pbe": (0.5, 2.5)}


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"n_atoms": "many"}, "write 10, or 4:12"),
        ({"windows": ["band_gap"]}, "write band_gap:0.5:2.5"),
        ({"windows": ["colour:0:1"]}, "none of the properties"),
        ({"windows": ["formation_energy_per_atom:0:1"]}, "several of the properties"),
        ({"formula": "Xy2"}, "cannot be read"),
        ({"contains": "Xy"}, "not the symbol of an element"),
        ({"z": 2}, "give one"),
    ],
)
def test_conditions_that_cannot_be_read_say_why(wrong, reason):
    with pytest.raises(ConfigError, match=reason):
        read_conditions(targets=TARGETS, **wrong)
