"""OpenLAM's path through DeePMD-kit, on the project's own small DPA-3."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.io import read, write
from pymatgen.core import Lattice, Structure

from agents.relax.batch import relax_many
from agents.relax.gate import GateFailure, check, measure
from agents.relax.openlam import OpenLAMPotential, similar_sizes
from agents.relax.openlam_weights import TEST_MODEL
from agents.relax.potential import UnsupportedElements, load_potential
from agents.relax.references import ElementalReferences
from agents.relax.settings import RelaxSettings

WEIGHTS = TEST_MODEL / "model.pt"


@pytest.fixture(scope="module")
def openlam() -> OpenLAMPotential:
    """The test model, through its gate."""
    return load_potential("openlam-test")


@pytest.fixture
def saltlike(crystal, rattle) -> Structure:
    """A crystal of two sizes of ions without any symmetry."""
    return rattle(crystal("SrTiO3"), volume=0.96)


def test_the_test_model_meets_its_golden_values_and_is_marked(openlam):
    card = json.loads((TEST_MODEL / "card.json").read_text())
    assert openlam.test_model
    assert openlam.level == f"openlam-test-{card['sha256'][:12]}"
    assert openlam.elements == set(card["elements"])
    golden = [c for c in check(openlam) if c.quantity.startswith("golden")]
    assert len(golden) == 12
    known = {"NaCl": -2.11, "SrTiO3": -3.551, "MgO": -3.053}  # Materials Project, eV/atom
    energies = {c.crystal: c.value for c in golden if "energy" in c.quantity}
    for name, value in known.items():
        assert energies[name] == pytest.approx(value, abs=0.35)


@pytest.mark.parametrize(
    ("change", "quantity"),
    [
        (lambda r: replace(r, energy=1.001 * r.energy), "golden formation energy"),
        (lambda r: replace(r, stress=-r.stress), "golden pressure"),
        (lambda r: replace(r, forces=1.1 * r.forces), "force against finite differences"),
    ],
)
def test_a_spoiled_test_model_is_refused(openlam, change, quantity):
    class Spoiled(OpenLAMPotential):
        def evaluate(self, structures):
            return [change(result) for result in super().evaluate(structures)]

    spoiled = Spoiled.__new__(Spoiled)
    spoiled.__dict__.update(openlam.__dict__)
    with pytest.raises(GateFailure, match=quantity):
        check(spoiled)


def test_corrections_that_no_file_tells_are_found_by_the_gate(openlam, chgnet):
    class Unknown(type(chgnet)):
        corrections = None

    unknown = Unknown.__new__(Unknown)
    unknown.__dict__.update(chgnet.__dict__)
    assert check(unknown) == check(chgnet)  # labels of the Materials Project, all six crystals
    # raw PBE: the energies of GPAW at 600 eV, which differ from the corrected ones
    raw = {"NaCl": -1.858 + 2.110, "SrTiO3": -3.120 + 3.551, "GaAs": -0.338 + 0.353}

    class Raw(Unknown):
        def evaluate(self, structures):
            shifts = [raw.get(s.composition.reduced_formula, 0.0) * len(s) for s in structures]
            results = super().evaluate(structures)
            return [replace(r, energy=r.energy + shift) for r, shift in zip(results, shifts)]

        def energies(self, structures):
            return np.array([r.energy for r in self.evaluate(structures)])

    unknown.__class__ = Raw
    checks = check(unknown)
    expected = {c.crystal: c.expected for c in checks if c.quantity.startswith("formation")}
    assert expected == {"NaCl": -1.858, "SrTiO3": -3.12, "GaAs": -0.338}


def test_forces_and_stress_are_derivatives_of_the_energy(openlam, saltlike):
    (result,) = openlam.evaluate([saltlike])
    step = 0.005
    for atom, axis in ((1, 0), (3, 2), (4, 1)):
        moved = []
        for sign in (-1, 1):
            copy = saltlike.copy()
            copy.translate_sites([atom], sign * step * np.eye(3)[axis], frac_coords=False)
            moved.append(copy)
        numeric = -np.diff(openlam.energies(moved))[0] / (2 * step)
        assert result.forces[atom, axis] == pytest.approx(numeric, rel=0.02, abs=0.01)
    for row, column in ((0, 0), (1, 2), (0, 2)):
        strain = np.zeros((3, 3))
        strain[row, column] += 0.5
        strain[column, row] += 0.5
        cells = [saltlike.lattice.matrix @ (np.eye(3) + s * 0.002 * strain) for s in (-1, 1)]
        strained = [Structure(c, saltlike.species, saltlike.frac_coords) for c in cells]
        numeric = np.diff(openlam.energies(strained))[0] / (0.004 * saltlike.volume)
        assert result.stress[row, column] == pytest.approx(numeric, rel=0.02, abs=0.0005)


def test_nothing_changes_with_frame_order_origin_or_cell(openlam, saltlike):
    (given,) = openlam.evaluate([saltlike])
    angle = 0.7
    rotation = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )[:, [2, 0, 1]]
    rotated = Structure(
        saltlike.lattice.matrix @ rotation.T, saltlike.species, saltlike.frac_coords
    )
    order = [3, 0, 4, 2, 1]
    permuted = Structure.from_sites([saltlike[i] for i in order])
    origin = np.array([0.31, -0.77, 0.12])
    shifted = Structure(saltlike.lattice, saltlike.species, saltlike.frac_coords + origin)
    twice = saltlike * (2, 1, 1)
    turned, reordered, moved, doubled = openlam.evaluate([rotated, permuted, shifted, twice])
    for result in (turned, reordered, moved):
        assert result.energy == pytest.approx(given.energy, abs=1e-4)
    assert doubled.energy == pytest.approx(2 * given.energy, abs=2e-4)
    np.testing.assert_allclose(turned.forces, given.forces @ rotation.T, atol=1e-4)
    np.testing.assert_allclose(turned.stress, rotation @ given.stress @ rotation.T, atol=1e-5)
    np.testing.assert_allclose(reordered.forces, given.forces[order], atol=1e-4)
    np.testing.assert_allclose(moved.forces, given.forces, atol=1e-4)
    np.testing.assert_allclose(doubled.forces[::2], given.forces, atol=1e-4)
    np.testing.assert_allclose(doubled.stress, given.stress, atol=1e-5)


#: In a process of its own: deepmd-kit compiles the model, which torch-geometric breaks where some
#: other test has imported it.
CALCULATE = """
import sys
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from deepmd.calculator import DP
weights, file = sys.argv[1:]
crystals, calculator = read(file, ":"), DP(weights)
for atoms in crystals:
    atoms.calc = calculator
    atoms.get_potential_energy()
    found = {name: calculator.get_property(name, atoms) for name in ("energy", "forces", "stress")}
    atoms.calc = SinglePointCalculator(atoms, **found)
write(file, crystals)
"""


def test_values_equal_those_of_deepmd_kits_own_calculator(
    openlam, saltlike, crystal, rattle, tmp_path
):
    from agents.relax.calculator import atoms_from_structure

    structures = [saltlike, rattle(crystal("LaAlO3"), volume=1.1)]
    file = tmp_path / "crystals.traj"
    write(file, [atoms_from_structure(structure) for structure in structures])
    subprocess.run([sys.executable, "-c", CALCULATE, WEIGHTS, file], check=True)
    for atoms, result in zip(read(file, ":"), openlam.evaluate(structures), strict=True):
        assert result.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
        np.testing.assert_allclose(result.forces, atoms.get_forces(), atol=1e-5)
        np.testing.assert_allclose(result.stress, atoms.get_stress(voigt=False), atol=1e-7)


def test_a_crystal_has_the_same_values_alone_and_in_any_batch(openlam, crystal, rattle):
    names = ("NaCl", "SrTiO3", "GaAs", "LaAlO3")
    structures = [rattle(crystal(name)) for name in names]
    structures += [structures[0] * (2, 2, 1), crystal("SrTiO3"), structures[2] * (3, 1, 1)]
    assert openlam.evaluate([]) == []
    for structure, result in zip(structures, openlam.evaluate(structures)):
        (alone,) = openlam.evaluate([structure])
        assert result.energy == pytest.approx(alone.energy, abs=1e-4)
        np.testing.assert_allclose(result.forces, alone.forces, atol=1e-4)
        np.testing.assert_allclose(result.stress, alone.stress, atol=1e-5)


def test_crystals_that_share_a_batch_have_similar_sizes():
    sizes = [20, 1, 5, 2, 1, 6, 19, 3, 7]
    batches = list(similar_sizes(sizes))
    assert sorted(i for batch in batches for i in batch) == list(range(len(sizes)))
    for batch in batches:
        chosen = [sizes[i] for i in batch]
        assert max(chosen) <= 1.5 * min(chosen)
    assert len(batches) == 4


def test_relaxation_with_the_test_model_ends_at_its_minimum(openlam, crystal, rattle):
    settings = RelaxSettings(max_steps=300, accept_max_stress=1.0)
    starts = [rattle(crystal(name), volume=1.06) for name in ("NaCl", "SrTiO3")]
    references = ElementalReferences.load(openlam)
    assert references.elements == openlam.elements
    for start, relaxation in zip(starts, relax_many(starts, openlam, settings)):
        assert relaxation.converged
        assert relaxation.energy < openlam.energies([start])[0]
        value = references.formation_energy_per_atom(start.composition, relaxation.energy)
        known = {"NaCl": -2.11, "SrTiO3": -3.551}[start.composition.reduced_formula]
        assert value == pytest.approx(known, abs=0.35)


def test_elements_outside_the_domain_are_refused_by_name(openlam, crystal):
    with pytest.raises(UnsupportedElements, match=r"not trained on Si \(crystal 1, Si\)"):
        openlam.evaluate([crystal("NaCl"), crystal("Si")])


def test_a_copy_of_the_test_model_is_a_test_model(openlam, tmp_path):
    path = tmp_path / "Found Somewhere.pt"
    path.write_bytes(WEIGHTS.read_bytes())
    copy = load_potential(str(path))
    assert copy.test_model
    assert copy.level == f"found-somewhere-{openlam.version}"


def test_weights_of_another_training_are_judged_by_known_values(tmp_path):
    content = torch.load(WEIGHTS, weights_only=True)
    bias = next(key for key in content["model"] if key.endswith("out_bias"))
    content["model"][bias][0, 2] += 0.5  # sodium, eV
    noise = next(key for key in content["model"] if "fitting_net" in key and "matrix" in key)
    content["model"][noise] *= 1.5
    path = tmp_path / "other.pt"
    torch.save(content, path)
    other = OpenLAMPotential.load(str(path))
    assert not other.test_model
    assert any(c.quantity == "formation energy (eV/atom)" for c in measure(other))
    with pytest.raises(GateFailure, match="refused by the sanity gate"):
        load_potential(str(path))


def test_a_frozen_model_gives_the_checkpoints_values(openlam, saltlike, tmp_path):
    frozen = tmp_path / "frozen.pth"
    dp = Path(sys.executable).with_name("dp")  # a process of its own, see `CALCULATE`
    subprocess.run([dp, "--pt", "freeze", "-c", WEIGHTS, "-o", frozen], check=True)
    potential = OpenLAMPotential.load(str(frozen))
    assert potential.elements == openlam.elements
    (result,), (expected,) = potential.evaluate([saltlike]), openlam.evaluate([saltlike])
    assert result.energy == pytest.approx(expected.energy, abs=1e-4)
    np.testing.assert_allclose(result.forces, expected.forces, atol=1e-4)
    np.testing.assert_allclose(result.stress, expected.stress, atol=1e-5)
    with pytest.raises(ValueError, match="frozen with its head: leave out 'Omat24'"):
        OpenLAMPotential.load(f"{frozen}:Omat24")


@pytest.fixture(scope="module")
def multitask(tmp_path_factory) -> Path:
    """The test model as a checkpoint with two heads, of which the second has another bias."""
    content = torch.load(WEIGHTS, weights_only=True)["model"]
    extra = content.pop("_extra_state")
    parameters = extra["model_params"]
    heads = {
        "Crystals": {**parameters, "model_branch_alias": ["Bulk"]},
        "Molecules": {**parameters, "model_branch_alias": []},
    }
    state = {
        key.replace("model.Default.", f"model.{head}."): value.clone()
        for head in heads
        for key, value in content.items()
    }
    for key in state:
        if key.startswith("model.Molecules.") and key.endswith("out_bias"):
            state[key] += 1.0
    state["_extra_state"] = {**extra, "model_params": {"model_dict": heads}}
    path = tmp_path_factory.mktemp("multitask") / "two.pt"
    torch.save({"model": state}, path)
    return path


def test_a_head_is_chosen_by_name_or_alias(openlam, multitask, crystal):
    salt = [crystal("NaCl")]
    by_alias = OpenLAMPotential.load(f"{multitask}:bulk")
    other = OpenLAMPotential.load(f"{multitask}:Molecules")
    assert by_alias.name == "two-crystals"
    assert other.name == "two-molecules"
    assert by_alias.energies(salt)[0] == pytest.approx(openlam.energies(salt)[0], abs=1e-5)
    assert other.energies(salt)[0] == pytest.approx(openlam.energies(salt)[0] + 2, abs=1e-5)


def test_elements_are_those_a_head_was_trained_on(tmp_path):
    content = torch.load(WEIGHTS, weights_only=True)
    state = content["model"]
    parameters = state["_extra_state"]["model_params"]
    parameters["info"] = {"observed_type": ["Na", "Cl"]}
    torch.save(content, tmp_path / "told.pt")
    assert OpenLAMPotential.load(str(tmp_path / "told.pt")).elements == {"Na", "Cl"}
    parameters["info"] = {}  # older files do not tell: elements without an energy were not seen
    bias = next(key for key in state if key.endswith("out_bias"))
    state[bias][0, parameters["type_map"].index("Sr")] = 0
    torch.save(content, tmp_path / "silent.pt")
    found = OpenLAMPotential.load(str(tmp_path / "silent.pt")).elements
    assert found == set(parameters["type_map"]) - {"Sr"}


def test_a_missing_or_wrong_head_is_refused_with_the_heads_there_are(multitask):
    with pytest.raises(ValueError, match=r"needs a head: .*it has Crystals, Molecules"):
        load_potential(str(multitask))
    with pytest.raises(ValueError, match=r"has no head 'Omat24': .*it has Crystals, Molecules"):
        load_potential(f"{multitask}:Omat24")
    with pytest.raises(ValueError, match="has a single task: leave out the head 'Crystals'"):
        load_potential(f"{WEIGHTS}:Crystals")


class _Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def _pickled_payload(path: Path) -> None:
    torch.save({"model": _Payload(path.with_name("executed"))}, path)


def _truncated(path: Path) -> None:
    path.write_bytes(WEIGHTS.read_bytes()[:100_000])


def _without_a_parameter(path: Path) -> None:
    content = torch.load(WEIGHTS, weights_only=True)
    del content["model"][next(key for key in content["model"] if key.endswith("matrix"))]
    torch.save(content, path)


def _of_an_unknown_kind(path: Path) -> None:
    content = torch.load(WEIGHTS, weights_only=True)
    content["model"]["_extra_state"]["model_params"]["descriptor"]["type"] = "dpa99"
    torch.save(content, path)


class _Writing(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, "executed")
        return x


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("truncated.pt", _truncated, "cannot be read as weights, it is corrupt"),
        ("text.pt", lambda p: p.write_text("DPA-3"), "cannot be read as weights"),
        ("empty.pt", lambda p: p.touch(), "cannot be read as weights"),
        ("payload.pt", _pickled_payload, "cannot be read as weights"),
        ("tensor.pt", lambda p: torch.save(torch.ones(3), p), "holds no model of DeePMD-kit"),
        ("other.pt", lambda p: torch.save({"model": {"w": torch.ones(3)}}, p), "holds no model"),
        ("less.pt", _without_a_parameter, "lacks 1 of the model's parameters"),
        ("kind.pt", _of_an_unknown_kind, "cannot be loaded by deepmd-kit: .*dpa99"),
        ("folder.pt", lambda p: p.mkdir(), "is a folder, not a file of weights"),
        ("frozen.pb", lambda p: p.write_bytes(b"\x0a\x0bgraph"), r"reads \.pt and \.pth"),
        ("chgnet.json", lambda p: p.write_text("{}"), r"reads \.pt and \.pth"),
        ("text.pth", lambda p: p.write_text("DPA-3"), "corrupt or no frozen model"),
        ("weights.pth", lambda p: p.write_bytes(WEIGHTS.read_bytes()), "no frozen model; is it a"),
        (
            "writing.pth",
            lambda p: torch.jit.script(_Writing()).save(str(p)),
            "refused: its program calls .*save",
        ),
        (
            "other.pth",
            lambda p: torch.jit.script(torch.nn.Linear(2, 2)).save(str(p)),
            "cannot be loaded by deepmd-kit",
        ),
    ],
)
def test_a_file_of_the_wrong_kind_is_refused(
    tmp_path, monkeypatch, name: str, write: Callable[[Path], object], message: str
):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / name)
    with pytest.raises(ValueError, match=message):
        load_potential(str(tmp_path / name))
    assert not (tmp_path / "executed").exists()


def test_a_model_of_something_else_than_energies_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "deepmd.pt.infer.deep_eval.DeepEval.get_dim_aparam", lambda self: 2, raising=True
    )
    with pytest.raises(ValueError, match="needs atomic parameters"):
        OpenLAMPotential.load("openlam-test")


def test_isolated_atoms_have_no_forces(openlam):
    (result,) = openlam.evaluate([Structure(Lattice.cubic(14), ["Al"], [[0, 0, 0]])])
    assert result.finite
    assert result.max_force == 0


@pytest.mark.long
def test_loading_prints_nothing_and_leaves_the_process_as_it_was():
    code = (
        "import multiprocessing, os, sys; before = dict(os.environ);"
        "from agents.relax.openlam import OpenLAMPotential;"
        "OpenLAMPotential.load('openlam-test');"
        "assert multiprocessing.get_start_method(allow_none=True) is None;"
        "assert dict(os.environ) == before;"
        "sys.exit(7)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 7, done.stderr
    assert done.stdout == ""
