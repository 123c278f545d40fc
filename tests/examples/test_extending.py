"""The packages of examples/extending, each doing what its page says of it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from documents import blocks
from pymatgen.core import Composition, Lattice, Structure
from typer.testing import CliRunner

from agents.propose.build import build_proposer
from agents.propose.proposer import Result
from agents.propose.seeds import EpisodeSeed
from agents.propose.settings import ProposeSettings
from agents.propose.space import search_space
from agents.relax.chgnet import CHGNetPotential
from agents.relax.potential import load_potential
from agents.screen.megnet_golden import golden_crystals
from agents.screen.models import load_screen
from agents.verify.backend import load_backend
from agents.verify.settings import VerifySettings
from agents.verify.tasks import Task
from db.crystals import structure_to_record
from discovery.campaign.config import load_campaign
from discovery.cli import app
from model.bank import CodeBank
from model.checkpoint import resolve_checkpoint
from model.generator import Generator

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples" / "extending"

pytestmark = pytest.mark.usefixtures("packages")

STRANGE = Structure(
    Lattice.cubic(4.5),
    ["Be", "Pb", "Ga", "Rb", "Se"],
    [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
)


def salt(first: str = "Na", second: str = "Cl", edge: float = 5.64) -> Structure:
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(edge), [first, second], [[0, 0, 0], [0.5, 0.5, 0.5]]
    ).get_primitive_structure()


def test_the_potential_passes_the_gate_and_gives_the_numbers_of_its_calculator():
    potential = load_potential("through-ase")  # past the gate, or an error
    crystals = [salt(), salt("Mg", "O", 4.25), golden_crystals()["SrTiO3"]]
    crystals[1].translate_sites([0], [0.03, 0.01, 0.0])  # forces that symmetry does not forbid

    for found, known in zip(
        potential.evaluate(crystals), CHGNetPotential.load().evaluate(crystals), strict=True
    ):
        assert found.energy == pytest.approx(known.energy, abs=1e-3)
        assert np.abs(found.forces - known.forces).max() < 1e-3
        assert np.abs(found.stress - known.stress).max() < 1e-4


def test_the_potential_relaxes_a_persons_own_crystal(elements, tmp_path):
    squeezed = salt(edge=5.5)
    squeezed.to(str(tmp_path / "salt.cif"))

    found = CliRunner().invoke(
        app, ["relax", str(tmp_path / "salt.cif"), "--potential", "through-ase", "--json"]
    )
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    (record,) = document["crystals"]
    assert document["potential"]["level"] == "through-ase-0.3.0"
    assert record["formation_energy_per_atom"] == pytest.approx(-2.1, abs=0.1)


def test_the_screen_answers_with_the_lowest_energy_of_the_nearest_composition():
    screen = load_screen("nearest-composition")  # past the gate, or an error
    known, far = screen.predict([salt(), STRANGE], "given")

    bank = CodeBank.load(resolve_checkpoint("mp20") / "bank.npz")
    energies = bank.properties["formation_energy_per_atom@mp20"]
    assert known[0].value == pytest.approx(energies[bank.formulas == "NaCl"].min())
    assert (known[0].in_domain, known[0].version) == (True, screen.version)
    named = re.fullmatch(
        r"composition: (\S+), the nearest, is ([\d.]+) away", *far[0].out_of_domain
    )
    assert far[0].value == pytest.approx(energies[bank.formulas == named[1]].min())
    given, other = STRANGE.composition, Composition(named[1]).fractional_composition
    symbols = {*given.get_el_amt_dict(), *other.get_el_amt_dict()}
    away = sum(
        abs(given.get_atomic_fraction(one) - other.get_atomic_fraction(one)) for one in symbols
    )
    assert away == pytest.approx(float(named[2]), abs=0.01)
    assert not far[0].in_domain


def test_the_screen_is_listed_and_checked_by_name():
    checked = CliRunner().invoke(app, ["models", "check", "nearest-composition", "--json"])
    listed = CliRunner().invoke(app, ["models", "list", "--json"])

    report = json.loads(checked.stdout)
    assert report["verdict"] == "accepted"
    assert report["checks"][0].startswith("NaCl: formation_energy_per_atom -2.1")
    notes = {one["name"]: one["note"] for one in json.loads(listed.stdout)}
    assert notes["nearest-composition"] == "brought by example-screen 1.0"
    assert notes["through-ase"] == "brought by example-potential 1.0"


def test_the_proposer_climbs_and_can_be_rebuilt_in_the_middle():
    settings = ProposeSettings.model_validate(
        {"proposers": [{"kind": "hill_climbing", "batch": 6, "generations": 3, "genes": 2}]}
    )
    generator = Generator.load("perov5")
    space = search_space(generator, 3)

    def build():
        (own,) = settings.proposers
        return build_proposer(own, space, EpisodeSeed(1, 0), 50, generator)

    def results(asked):
        return [Result(str(i), one.codes, float(-i)) for i, one in enumerate(asked)]

    proposer = build()
    for generation in range(2):
        proposer.tell(generation, results(proposer.ask(generation)))
    asked = proposer.ask(2)
    best = min((r for g in proposer.told for r in g), key=lambda result: result.fitness).genes
    for one in asked:
        assert 1 <= sum(a != b for a, b in zip(one.codes.global_genes, best)) <= 2

    rebuilt = build()
    for generation, told in enumerate(proposer.told):
        rebuilt.ask(generation)
        rebuilt.tell(generation, told)
    assert rebuilt.ask(2) == asked


def run_program(folder: Path, task: str) -> dict:
    settings = load_backend("example-code").settings("fast")
    document = {
        "task": task,
        "structure": structure_to_record(salt()),
        "settings": settings.record(),
    }
    (folder / "in.json").write_text(json.dumps(document))
    command = load_backend("example-code").command(folder / "in.json", folder / "out.json")
    subprocess.run(command, check=True, cwd=folder)
    return json.loads((folder / "out.json").read_text())


def test_the_dft_code_answers_or_says_why_not(tmp_path):
    assert VerifySettings(backend="example-code").backend == "example-code"
    found = run_program(tmp_path, "static")["result"]
    assert found["n_atoms"] == 2
    assert found["energy_per_atom"] < 0
    assert found["band_gap"] == pytest.approx(4 * (3.16 - 0.93) / 2 - 1, abs=0.01)
    assert "no task bands" in run_program(tmp_path, Task.BANDS)["error"]["message"]
    backend = load_backend("example-code")
    assert "open f shell" in backend.unsupported(["Ce", "O"], backend.settings("fast"))


def test_the_campaign_names_the_parts_of_the_packages():
    config = load_campaign(str(EXAMPLES / "campaign" / "everything-brought.yaml"))

    assert config.propose.proposers[0].package == "example-proposer 1.0"
    assert "nearest-composition" in config.screen.models
    assert (config.relax.potential, config.verify.backend) == ("through-ase", "example-code")


@pytest.mark.parametrize(
    "block",
    [one for one in blocks("python", "toml", "yaml") if one.page.startswith("docs/extending/")],
    ids=str,
)
def test_what_the_pages_show_is_what_is_tested(block):
    files = [path.read_text() for path in EXAMPLES.rglob("*") if path.is_file()]
    assert any(block.text.strip("\n") in text for text in files), f"{block} is in no example"
