"""``discovery dedup`` on files and on a campaign, with small references and the real ones."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner, Result

from db import campaigns
from db.connection import Session
from db.crystals import structure_to_record
from discovery.cli import app
from discovery.cli.output import UsageError
from discovery.structures.duplicates import read_queries
from discovery.structures.files import write_structures

CUBIC = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]


def perovskite(a: str, b: str, edge: float = 4.0) -> Structure:
    return Structure(Lattice.cubic(edge), [a, b, "O", "O", "O"], CUBIC)


def disguised(structure: Structure, seed: int = 0) -> Structure:
    """The same crystal in another cell, moved, rattled and larger."""
    random = np.random.default_rng(seed)
    other = structure.copy()
    other.make_supercell([[1, 1, 0], [0, 1, 0], [0, 0, 1]])
    other.translate_sites(range(len(other)), random.uniform(size=3))
    moved = other.cart_coords + random.uniform(-0.05, 0.05, size=(len(other), 3))
    rattled = Structure(other.lattice, other.species, moved, coords_are_cartesian=True)
    rattled.scale_lattice(rattled.volume * 1.05)
    return rattled


def write_table(path: Path, crystals: dict[str, Structure]) -> Path:
    with gzip.open(path, "wt", newline="") as file:
        table = csv.writer(file)
        table.writerow(["material_id", "formula", "structure"])
        for name, crystal in crystals.items():
            text = {
                "cell": crystal.lattice.parameters,
                "species": [site.specie.symbol for site in crystal],
                "frac": crystal.frac_coords.tolist(),
            }
            table.writerow([name, crystal.composition.formula.replace(" ", ""), json.dumps(text)])
    return path


@pytest.fixture
def references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: Session) -> Path:
    """A reference of three crystals, of which the training set holds one, and one of its own.

    The database is empty, so the collections are imported on their first use.
    """
    folder = tmp_path / "data"
    folder.mkdir()
    sto, bto, lao = perovskite("Sr", "Ti"), perovskite("Ba", "Ti"), perovskite("La", "Al", 3.8)
    write_table(folder / "mp_ref2025_le20.csv.gz", {"mp-sto": sto, "mp-bto": bto})
    write_table(folder / "mp_ref2025_gt20.csv.gz", {"mp-lao": lao})
    write_table(
        folder / "mp20_train.csv.gz",
        {"mp-sto": disguised(sto, 5), "mp-kno": perovskite("K", "Nb")},
    )
    for split in ("val", "test"):
        write_table(folder / f"mp20_{split}.csv.gz", {f"mp-{split}": perovskite("Li", "Ta")})
    monkeypatch.setenv("DISCOVERY_DATA", str(folder))
    monkeypatch.setenv("MONGODB_URI", database.uri)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def _dedup(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["dedup", *(str(argument) for argument in arguments)])


def _answer(*arguments: object) -> dict[str, Any]:
    done = _dedup(*arguments, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A training crystal, a rediscovery, a new polymorph and a new compound, in every format."""
    paths = [tmp_path / name for name in ("sto.cif", "POSCAR", "more.extxyz", "kno.csv.gz")]
    disguised(perovskite("Sr", "Ti"), 1).to(filename=str(paths[0]), fmt="cif")
    disguised(perovskite("Ba", "Ti"), 2).to(filename=str(paths[1]), fmt="poscar")
    layers = Structure(
        Lattice.tetragonal(3.2, 9.0),
        ["La", "Al", "O", "O", "O"],
        [[0, 0, 0], [0, 0, 0.2], [0.5, 0.5, 0.35], [0.5, 0.5, 0.6], [0, 0, 0.75]],
    )
    write_structures({"a": layers, "b": perovskite("Ca", "Ge")}, paths[2])
    write_table(paths[3], {"mine-1": disguised(perovskite("K", "Nb"), 3)})
    return paths


def test_known_rediscovered_and_new_are_told_apart(references: Path, files: list[Path]) -> None:
    found = _answer(*files)
    matches = {Path(match["id"]).name: match for match in found["matches"]}
    assert {name: match["reference_id"] for name, match in matches.items()} == {
        "sto.cif": "mp-sto",
        "POSCAR": "mp-bto",
    }
    assert (found["n"], found["matched"], found["failed"]) == (5, 2, 0)
    # KNbO3 is in the training set, though not in the reference: neither rediscovered nor new
    assert (found["in_training"], found["rediscovered"], found["novel"]) == (2, 1, 2)
    assert matches["sto.cif"]["training_id"] == "mp-sto"
    assert matches["POSCAR"]["rediscovered"] is True
    assert found["rediscovered_rms_mean"] == matches["POSCAR"]["rms"]
    for match in matches.values():
        assert 0.0 < match["rms"] < match["max_distance"] < 0.05
        edge = (4.0**3 * 1.05**0.5 / 5) ** (1 / 3)  # (V/N)^(1/3) at the mean of the volumes
        assert match["rms_angstrom"] == pytest.approx(match["rms"] * edge, rel=1e-4)
    assert found["tolerances"] == {"ltol": 0.3, "stol": 0.5, "angle_tol": 10.0}
    assert found["reference"]["crystals"] == 3
    assert sorted(found["reference"]["tables"]) == [
        "mp_ref2025_gt20.csv.gz",
        "mp_ref2025_le20.csv.gz",
    ]
    assert (found["reference"]["version"], found["vacuum"]) == ("v2025.02.12 without GNoME", None)
    training = found["training"]
    assert (training["name"], training["crystals"]) == ("mp20-train", 2)
    assert training["tables"] == ["mp20_train.csv.gz"]
    for path in references.iterdir():
        path.unlink()  # imported on first use, so the tables are not read again
    table = _dedup(*files)
    assert table.stderr == ""  # nothing was imported again
    assert "2 of 5 crystals are among the 3 of mp" in table.stdout
    assert "1 are known, but not from it: rediscovered" in table.stdout


def test_options_are_obeyed(references: Path, files: list[Path]) -> None:
    assert _answer(*files, "--stol", "0.001")["matched"] == 0
    without = _answer(*files, "--training", "none")
    assert (without["training"], without["in_training"], without["rediscovered"]) == (None,) * 3
    assert without["novel"] == 3
    train = _answer(*files, "--reference", "train", "--training", "mp20-train")
    assert (train["matched"], train["in_training"], train["rediscovered"]) == (2, 2, 0)
    itself = _answer(*files, "--reference", "mp20-train")
    assert (itself["matched"], itself["in_training"], itself["rediscovered"]) == (2, 2, 0)
    own = _answer(*files, "--reference", files[3])
    assert [match["reference_id"] for match in own["matches"]] == ["mine-1"]
    assert own["matches"][0]["rms"] == pytest.approx(0.0, abs=1e-6)
    copies = {f"{n}": disguised(perovskite("Ba", "Ti"), n) for n in range(3)}
    several = write_table(references / "copies.csv.gz", copies)
    every = _answer(files[1], "--reference", several, "--exhaustive")["matches"][0]
    assert {every["reference_id"], *every["others"]} == {"0", "1", "2"}
    assert every["reference_id"] == "2"  # the very same one
    assert every["rms"] == pytest.approx(0.0, abs=1e-6)


def test_broken_files_are_reported_and_stop_nothing(
    references: Path, files: list[Path], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.cif"
    bad.write_text("data_nothing\n")
    torn = tmp_path / "torn.csv.gz"
    torn.write_bytes(write_table(torn, {"x": perovskite("Sr", "Ti")}).read_bytes()[:-12])
    wrong = tmp_path / "wrong.csv.gz"
    with gzip.open(wrong, "wt") as file:
        file.write('material_id,structure\nw-1,"{"\nw-2,\n')
    found = _answer(files[0], bad, torn, wrong, tmp_path / "gone.csv.gz")
    assert found["matches"][0]["id"] == str(files[0])
    said = {Path(one["id"]).name: one["error"] for one in found["errors"]}
    assert {"bad.cif", "wrong.csv.gz:w-1", "wrong.csv.gz:w-2", "gone.csv.gz"} <= set(said)
    assert any(name.startswith("torn.csv.gz after row") for name in said)
    assert found["failed"] == len(said)
    assert found["n"] == found["failed"] + found["matched"]
    only = _dedup(bad)
    assert only.exit_code == 1
    assert "bad.cif" in only.stderr


def test_wrong_use_is_one_sentence(references: Path, files: list[Path]) -> None:
    for arguments, said in (
        (["--reference", "icsd"], "there is no reference 'icsd'"),
        (["--reference", str(files[0])], "there is no reference"),
        (["--stol", "-1"], "--stol: "),
        (["--all"], "about the candidates of a campaign"),
        (["--reference", "c2db"], "c2db_train.csv.gz was not found"),
        (["--training", "icsd-train"], "there is no reference 'icsd-train'"),
        (["--reference", "train"], "which training set"),
    ):
        done = _dedup(files[0], *arguments)
        assert said in str(done.exception), (arguments, done.output)
    assert isinstance(_dedup(files[0], "--all").exception, UsageError)
    (references / "bad.csv.gz").write_text("no gzip")
    done = _dedup(files[0], "--reference", references / "bad.csv.gz")
    assert "cannot be read as a reference" in str(done.exception)


def test_equal_ones_among_the_crystals_themselves(tmp_path: Path) -> None:
    crystals = {f"{n}": disguised(perovskite("Ba", "Ti"), n) for n in range(3)}
    crystals["other"] = perovskite("Sr", "Ti")
    crystals["again"] = disguised(perovskite("Sr", "Ti"))
    path = write_table(tmp_path / "mine.csv.gz", crystals)
    found = _answer(path, "--reference", "self")
    listed = {m["id"]: {m["reference_id"], *m["others"]} for m in found["matches"]}
    assert listed == {"1": {"0"}, "2": {"0", "1"}, "again": {"other"}}
    assert (found["n"], found["matched"], found["novel"]) == (5, 3, 2)
    assert (found["training"], found["rediscovered"], found["reference"]["tables"]) == (
        None,
        None,
        [],
    )


def test_ids_that_occur_twice_are_kept_apart(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a.csv.gz", {"x": perovskite("Sr", "Ti")})
    other = write_table(tmp_path / "b.csv.gz", {"x": perovskite("Ba", "Ti")})
    assert list(read_queries([path]).structures) == ["x"]
    assert list(read_queries([path, other]).structures) == [f"{path}:x", f"{other}:x"]
    assert list(read_queries([path, path]).structures) == [f"{path}:x", f"{path}:x#2"]


def test_candidates_of_a_campaign(references: Path, database: Session) -> None:
    campaigns.create("c", config={"generator": "mp20"}, seed=0)
    crystals = [
        ("screened", disguised(perovskite("Sr", "Ti"), 1)),
        ("verified", disguised(perovskite("Ba", "Ti"), 2)),
        ("rejected", disguised(perovskite("La", "Al"), 3)),
        ("proposed", None),
    ]
    documents = [
        {
            "_id": f"c-{number}",
            "campaign": "c",
            "seq": number,
            "state": state,
            "generator_version": "g",
            "codes_hash": str(number),
            "token": 0,
            "history": [],
            "relaxation": {} if crystal is None else {"structure": structure_to_record(crystal)},
        }
        for number, (state, crystal) in enumerate(crystals)
    ]
    database.database["candidates"].insert_many(documents)
    found = _answer("c", "--db", database.uri)
    assert found["training"]["name"] == "mp20-train"
    assert [match["id"] for match in found["matches"]] == ["c-0", "c-1"]
    assert (found["n"], found["in_training"], found["rediscovered"]) == (2, 1, 1)
    everything = _answer("c", "--db", database.uri, "--all")
    assert [match["reference_id"] for match in everything["matches"]] == [
        "mp-sto",
        "mp-bto",
        "mp-lao",
    ]
    alone = _answer("c", "--db", database.uri, "--all", "--reference", "self")
    assert (alone["n"], alone["matched"], alone["training"]) == (3, 0, None)
    assert "no campaign 'other'" in str(_dedup("other", "--db", database.uri).exception)


def test_tables_are_compared_without_a_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONGODB_URI", "mongodb://127.0.0.1:1/nothing-listens-here")
    mine = write_table(tmp_path / "mine.csv.gz", {"x": disguised(perovskite("Sr", "Ti"))})
    known = write_table(tmp_path / "known.csv.gz", {"a": perovskite("Sr", "Ti")})
    found = _answer(mine, "--reference", known)
    assert [match["reference_id"] for match in found["matches"]] == ["a"]
    trained = _answer(mine, "--reference", "self", "--training", known)
    assert (trained["matched"], trained["training"]) == (0, None)


def test_slabs_are_compared_with_one_vacuum(tmp_path: Path) -> None:
    """One layer of rock salt in vacuums of 12 and 32 Å is one crystal; as it is written it is two.

    StructureMatcher scales both to one volume, and so stretches the layer with little vacuum.
    """

    def layer(height: float) -> Structure:
        positions = [[0, 0, 0.5], [0.5, 0.5, 0.5], [0.5, 0.5, 0.5 + 2.8 / height]]
        places = [*positions, [0, 0, 0.5 + 2.8 / height]]
        return Structure(Lattice.tetragonal(4.0, height), ["Na", "Cl", "Na", "Cl"], places)

    mine = write_table(tmp_path / "mine.csv.gz", {"x": layer(15.0)})
    known = write_table(tmp_path / "known.csv.gz", {"a": layer(35.0)})
    assert _answer(mine, "--reference", known)["matched"] == 0
    slabs = _answer(mine, "--reference", known, "--slabs")
    assert (slabs["matched"], slabs["vacuum"]) == (1, 15.0)
    assert slabs["matches"][0]["rms_angstrom"] == pytest.approx(0.0, abs=1e-6)


def test_tables_of_c2db_are_read_as_they_mean_it(tmp_path: Path) -> None:
    """They have Cartesian coordinates of oblique cells, in lengths of the cell's vectors."""
    cell = Lattice.hexagonal(3.18, 18.1)
    heights = [0.5, 0.5 + 1.56 / 18.1, 0.5 - 1.56 / 18.1]
    meant = [[1 / 3, 2 / 3], [2 / 3, 1 / 3], [2 / 3, 1 / 3]]
    third = 3**0.5 / 3
    written = [[0.0, third], [0.5, third / 2], [0.5, third / 2]]
    layer, misread = (
        Structure(cell, ["Mo", "S", "S"], [[*place, z] for place, z in zip(places, heights)])
        for places in (meant, written)
    )
    table = write_table(tmp_path / "c2db_test.csv.gz", {"MoS2-1": misread})
    plain = write_table(tmp_path / "mine.csv.gz", {"mine": layer})
    for query, reference in ((table, plain), (plain, table)):
        found = _answer(query, "--reference", reference, "--slabs")
        assert found["matches"][0]["rms"] == pytest.approx(0.0, abs=1e-5)
