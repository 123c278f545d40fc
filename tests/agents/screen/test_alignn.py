"""The shipped ALIGNN: known values, physics it must obey, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure
from safetensors.torch import load, save_file

from agents.screen.alignn import ALIGNN
from agents.screen.alignn_checkpoint import SHIPPED, read_checkpoint
from agents.screen.megnet_golden import GOLDEN, golden_crystals
from agents.screen.screen import MissingModel, Refusal, UnsoundModel

PROPERTIES = ("formation_energy_per_atom", "band_gap")


@pytest.fixture(scope="module")
def alignn() -> ALIGNN:
    return ALIGNN.load()


def values(alignn: ALIGNN, structures: list[Structure]) -> np.ndarray:
    """(B, 2) numbers in the order of PROPERTIES."""
    answers = alignn.predict(structures)
    assert not any(isinstance(answer, Refusal) for answer in answers)
    return np.array([[{p.property: p.value for p in a}[n] for n in PROPERTIES] for a in answers])


def test_known_crystals_are_where_megnet_puts_them(alignn: ALIGNN) -> None:
    """MEGNet's original numbers are the judge: E_f within 0.25 eV/atom, gaps in order."""
    crystals = golden_crystals()
    found = dict(zip(crystals, values(alignn, list(crystals.values()))))
    for formula, (energy, _) in found.items():
        assert energy == pytest.approx(GOLDEN[formula][PROPERTIES[0]], abs=0.25)
    assert found["NaCl"][1] == pytest.approx(4.9, abs=1.0)
    assert max(found["Si"][1], found["GaAs"][1]) < 1.2


def test_numbers_do_not_depend_on_batch_cell_origin_orientation_or_order(alignn: ALIGNN) -> None:
    structures = list(golden_crystals().values())
    alone = np.concatenate([values(alignn, [structure]) for structure in structures])
    assert values(alignn, structures) == pytest.approx(alone, abs=2e-5)
    in_twos = ALIGNN(alignn.network, alignn.domain, alignn.card, batch=2)
    assert values(in_twos, structures[::-1]) == pytest.approx(alone[::-1], abs=2e-5)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    moved = []
    for structure in structures:
        other = structure.copy()
        other.translate_sites(range(len(other)), [0.13, 0.29, 0.71])
        other.make_supercell([[1, 1, 0], [0, 1, 0], [0, 0, 2]])
        order = np.random.default_rng(0).permutation(len(other))
        shuffled = Structure.from_sites([other[int(i)] for i in order])
        lattice = Lattice(shuffled.lattice.matrix @ turn)
        moved.append(Structure(lattice, shuffled.species, shuffled.frac_coords))
    assert values(alignn, moved) == pytest.approx(alone, abs=2e-4)


def test_numbers_depend_on_angles_and_distances(alignn: ALIGNN) -> None:
    rutile = golden_crystals()["TiO2"]
    bent = rutile.copy()
    bent.perturb(0.1, seed=1)
    assert np.abs(values(alignn, [bent]) - values(alignn, [rutile])).max() > 0.01


def test_record_says_who_made_the_number(alignn: ALIGNN) -> None:
    [answer] = alignn.predict([golden_crystals()["NaCl"]], on="decoded")
    assert not isinstance(answer, Refusal)
    assert [(p.property, p.unit) for p in answer] == list(zip(PROPERTIES, ["eV/atom", "eV"]))
    for prediction in answer:
        assert (prediction.model, prediction.version) == ("alignn", alignn.card.version)
        assert (prediction.level, prediction.on) == ("pbe-mp2018", "decoded")
        assert prediction.in_domain
        assert prediction.out_of_domain == ()
        assert prediction.std is not None
        assert 0 < prediction.std < 2
    assert "MP 2018.6.1" in alignn.training_data
    assert "PBE" in alignn.functional
    assert "not an independent word" in alignn.dependence


def test_std_is_that_of_the_group_of_the_value(alignn: ALIGNN) -> None:
    calibration = alignn.card.calibration["band_gap"]
    below, above = calibration.edges[0] - 0.01, calibration.edges[-1] + 0.01
    assert alignn.std("band_gap", below) == calibration.std[0]
    assert alignn.std("band_gap", above) == calibration.std[-1]


def test_what_it_was_not_made_for_is_out_of_domain(alignn: ALIGNN) -> None:
    slab = Structure(
        Lattice.hexagonal(3.18, 25.0),
        ["Mo", "S", "S"],
        [[1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5625], [2 / 3, 1 / 3, 0.4375]],
    )
    big = Structure(Lattice.cubic(12.0), ["Na"] * 54 + ["Cl"] * 54, _grid(108))
    radium = golden_crystals()["NaCl"].copy()
    radium.replace_species({"Na": "Ra"})
    answers = alignn.predict([slab, big, radium])
    reasons = []
    for answer in answers:
        assert not isinstance(answer, Refusal)
        assert not any(prediction.in_domain for prediction in answer)
        reasons.append(answer[0].out_of_domain[0].split(":")[0])
    assert reasons == ["vacuum", "size", "elements"]


def _grid(points: int) -> list[list[float]]:
    """Places without symmetry, about evenly spread, so that the primitive cell is the cell."""
    side = np.arange(5) / 5
    every = np.stack(np.meshgrid(side, side, side), axis=-1).reshape(-1, 3)
    random = np.random.default_rng(5)
    chosen = every[random.permutation(len(every))[:points]]
    return (chosen + random.uniform(-0.02, 0.02, chosen.shape)).tolist()


def test_what_it_cannot_take_gets_no_number(alignn: ALIGNN) -> None:
    sodium_chloride = golden_crystals()["NaCl"]
    lonely = Structure(Lattice.cubic(9.0), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    collapsed = sodium_chloride.copy()
    collapsed.scale_lattice(0.5)
    mendelevium = sodium_chloride.copy()
    mendelevium.replace_species({"Na": "Md"})
    huge = sodium_chloride.copy()
    huge.make_supercell([8, 8, 8])
    answers = alignn.predict([lonely, sodium_chloride, collapsed, mendelevium, huge])
    refused = {i: a.reason for i, a in enumerate(answers) if isinstance(a, Refusal)}
    assert sorted(refused) == [0, 2, 3, 4]
    assert "2 of 2 atoms have no neighbour within 4 Å" in refused[0]
    assert "far too small" in refused[2]
    assert "element 101" in refused[3]
    assert "1024 atoms" in refused[4]
    assert alignn.predict([]) == []


def test_a_network_that_gives_nan_is_not_believed(alignn: ALIGNN) -> None:
    network, domain, card = read_checkpoint(SHIPPED)
    network.core.fc.bias[1] = torch.nan
    broken = ALIGNN(network, domain, card)
    [answer] = broken.predict([golden_crystals()["Si"]])
    assert answer == Refusal("alignn", "band_gap is not a finite number")
    with pytest.raises(UnsoundModel, match="band_gap is not a finite number"):
        broken.check()


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "alignn", copy_function=shutil.copyfile))


def edit_card(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    card = json.loads((folder / "card.json").read_text())
    change(card)
    (folder / "card.json").write_text(json.dumps(card))


def rewrite_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the weights and let the card say that these are the right ones."""
    import hashlib

    path = folder / "weights.safetensors"
    state = load(path.read_bytes())
    change(state)
    save_file(state, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit_card(folder, lambda card: card["sha256"].update({"weights.safetensors": digest}))


def test_gate_refuses_other_weights(copied: Path) -> None:
    rewrite_weights(copied, lambda state: state["core.fc.weight"].mul_(1.05))
    with pytest.raises(UnsoundModel, match=r"ALIGNN says .* is known of"):
        ALIGNN.load(copied)


def test_gate_refuses_a_card_without_known_values(copied: Path) -> None:
    edit_card(copied, lambda card: card["golden"].pop("Si"))
    with pytest.raises(UnsoundModel, match="lacks golden values"):
        ALIGNN.load(copied)


@pytest.mark.parametrize("name", ["weights.safetensors", "domain.npz"])
def test_changed_file_is_named(copied: Path, name: str) -> None:
    content = bytearray((copied / name).read_bytes())
    content[-1] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises(UnsoundModel, match=rf"{name} is not the file its card was written for"):
        ALIGNN.load(copied)


def test_weights_of_another_architecture_are_refused(copied: Path) -> None:
    edit_card(copied, lambda card: card["shape"].update({"hidden": 64}))
    with pytest.raises(UnsoundModel, match="does not fit the network of its card"):
        ALIGNN.load(copied)


def test_pickle_is_refused(copied: Path) -> None:
    import hashlib

    path = copied / "weights.safetensors"
    torch.save(load(path.read_bytes()), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit_card(copied, lambda card: card["sha256"].update({"weights.safetensors": digest}))
    with pytest.raises(UnsoundModel, match="does not fit"):
        ALIGNN.load(copied)


def test_unknown_entry_of_a_card_is_refused(copied: Path) -> None:
    edit_card(copied, lambda card: card.update({"surprise": 1}))
    with pytest.raises(UnsoundModel, match="surprise"):
        ALIGNN.load(copied)


def test_missing_file_is_named(copied: Path) -> None:
    (copied / "domain.npz").unlink()
    with pytest.raises(MissingModel, match=r"has no domain\.npz"):
        ALIGNN.load(copied)


def test_checkpoint_is_small_and_its_card_complete(alignn: ALIGNN) -> None:
    """The promises of the model card: targets met, error bars that cover, the way it was made."""
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 20e6
    test = alignn.card.errors["test"]
    assert test.crystals == 3141
    assert test.mae["formation_energy_per_atom"] <= 0.10
    assert test.mae["band_gap"] <= 0.45
    assert all(share == pytest.approx(0.683, abs=0.04) for share in test.coverage.values())
    assert alignn.card.training["seed"] == alignn.card.config["seed"]
    assert alignn.card.training["cpu_seconds"] > 0


@pytest.mark.data
def test_error_on_test_rows_is_that_of_the_card(alignn: ALIGNN, data_dir: Path) -> None:
    """150 rows that were never trained on; three standard errors around the card's number."""
    from agents.tables import parse_structure, read_rows

    rows = [
        row
        for row in read_rows(data_dir / "mp2018_megnet.csv.gz")
        if row["megnet_split"] == "test" and int(row["natoms"]) <= 40
    ][::15][:150]
    assert len(rows) == 150
    found = values(alignn, [parse_structure(row["structure"]) for row in rows])
    labels = np.array([[float(row[name]) for name in PROPERTIES] for row in rows])
    errors = np.abs(found - labels)
    for i, name in enumerate(PROPERTIES):
        standard_error = errors[:, i].std() / len(errors) ** 0.5
        assert errors[:, i].mean() == pytest.approx(
            alignn.card.errors["test"].mae[name], abs=3 * standard_error
        )
