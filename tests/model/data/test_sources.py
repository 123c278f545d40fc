"""The same crystals from every source, and what becomes of entries that are none."""

from __future__ import annotations

import csv
import gzip
import json
import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.db import connect
from pymatgen.core import DummySpecies, Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.vasp import Poscar

from model.data.canonical import check_crystal
from model.data.sources import read_source
from model.data.table import CrystalTable
from model.errors import MissingDataset

_GAP = "band_gap@pbe"


@pytest.fixture(scope="module")
def structures() -> list[Structure]:
    """Twenty low-symmetry crystals with ids and gaps, two of which are not known."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(20):
        n = int(rng.integers(1, 7))
        cell = [*rng.uniform(4, 8, 3), *rng.uniform(65, 110, 3)]
        kinds = ["Na", "Ti", "N", "O"]  # by electronegativity, as files of pymatgen have them
        symbols = [kinds[k] for k in np.sort(rng.integers(0, 4, n))]
        structure = Structure(Lattice.from_parameters(*cell), symbols, rng.random((n, 3)))
        structure.properties = {"material_id": f"m{i:02d}", "gap": 0.1 * i if i % 10 else None}
        found.append(structure)
    return found


def _row(structure: Structure) -> dict[str, object]:
    """Return a row in the layout of the data directory."""
    data = {
        "cell": list(structure.lattice.parameters),
        "species": [site.specie.symbol for site in structure],
        "frac": structure.frac_coords.tolist(),
    }
    return {**structure.properties, "structure": json.dumps(data)}


def _write_csv(path: Path, rows: list[dict[str, object]]) -> Path:
    with (gzip.open if path.suffix == ".gz" else open)(path, "wt", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def _write_extxyz(path: Path, structures: list[Structure]) -> Path:
    frames = []
    for structure in structures:
        atoms = AseAtomsAdaptor.get_atoms(structure)
        atoms.info = {k: v for k, v in structure.properties.items() if v is not None}
        frames.append(atoms)
    ase.io.write(path, frames, format="extxyz")
    return path


def _assert_same(table: CrystalTable, expected: CrystalTable, atol: float) -> None:
    assert table.skipped == []
    assert table.ids == expected.ids
    assert table.formulas == expected.formulas
    for crystal, wanted in zip(table.crystals, expected.crystals):
        np.testing.assert_array_equal(crystal.numbers, wanted.numbers)
        np.testing.assert_allclose(crystal.cell, wanted.cell, atol=1e3 * atol)
        difference = crystal.frac - wanted.frac  # some formats wrap coordinates
        np.testing.assert_allclose(difference - np.rint(difference), 0, atol=atol)


def test_all_sources_give_the_same_crystals(tmp_path: Path, structures: list[Structure]) -> None:
    expected = read_source(structures, labels={_GAP: "gap"})
    assert expected.ids == [f"m{i:02d}" for i in range(20)]
    rows = [_row(structure) for structure in structures]
    tables = [
        read_source(_write_csv(tmp_path / "a.csv", rows), labels={_GAP: "gap"}),
        read_source(str(_write_csv(tmp_path / "a.csv.gz", rows)), labels={_GAP: "gap"}),
        read_source(_write_extxyz(tmp_path / "a.extxyz", structures), labels={_GAP: "gap"}),
    ]
    with connect(tmp_path / "a.db") as database:
        for structure in structures:
            keys = {k: v for k, v in structure.properties.items() if v is not None}
            database.write(AseAtomsAdaptor.get_atoms(structure), **keys)
    tables.append(read_source(tmp_path / "a.db", labels={_GAP: "gap"}))
    wanted = [np.nan if i % 10 == 0 else 0.1 * i for i in range(20)]
    for table in (expected, *tables):
        _assert_same(table, expected, atol=1e-6)
        np.testing.assert_allclose(table.labels[_GAP], wanted)
        assert len(table.sha256) == 64


def test_folders_of_files_give_the_same_crystals(
    tmp_path: Path, structures: list[Structure]
) -> None:
    for folder in ("cif", "mixed", "mixed/deep"):
        (tmp_path / folder).mkdir(parents=True)
    expected = read_source(structures)
    for name, structure in zip(expected.ids, structures):
        structure.to(str(tmp_path / "cif" / f"{name}.cif"))
        if name < "m10":
            Poscar(structure).write_file(tmp_path / "mixed" / f"{name}.vasp", significant_figures=9)
        else:
            _write_extxyz(tmp_path / "mixed" / "deep" / f"{name}.xyz", [structure])
    (tmp_path / "mixed" / "notes.txt").write_text("not a crystal")
    (tmp_path / "mixed" / ".m00.vasp.swp").write_text("not a crystal")
    for folder in ("cif", "mixed"):
        table = read_source(tmp_path / folder)
        order = sorted(range(20), key=lambda i: table.ids.index(expected.ids[i]))
        again = read_source([structures[i] for i in order])
        _assert_same(table, again, atol=1e-5)
    first = read_source(tmp_path / "cif").sha256
    (tmp_path / "cif" / "m00.cif").rename(tmp_path / "cif" / "m99.cif")
    assert read_source(tmp_path / "cif").sha256 != first


def test_files_of_one_name_keep_their_extensions_in_their_ids(
    tmp_path: Path, structures: list[Structure]
) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Poscar(structures[0]).write_file(tmp_path / folder / "POSCAR")
    structures[0].to(str(tmp_path / "c.cif"))
    Poscar(structures[0]).write_file(tmp_path / "c.vasp")
    assert read_source(tmp_path).ids == ["a/POSCAR", "b/POSCAR", "c.cif", "c.vasp"]


def test_bad_rows_are_reported_and_the_rest_keeps_its_order(
    tmp_path: Path, structures: list[Structure]
) -> None:
    rows = [_row(structure) for structure in structures[:8]]
    good = json.loads(str(rows[0]["structure"]))
    faults = {
        1: ("{not json", "JSONDecodeError"),
        2: (json.dumps({**good, "species": ["Qq"] * len(good["species"])}), "Qq"),
        3: (json.dumps({**good, "frac": [[0.0, 0.0]]}), "fit together"),
        4: (json.dumps({**good, "cell": [4, 4, 4, 30, 30, 120]}), "no volume"),
        5: (json.dumps({**good, "cell": [4, 4, float("nan"), 90, 90, 90]}), "finite"),
        6: ("", "JSONDecodeError"),
    }
    for i, (text, _) in faults.items():
        rows[i]["structure"] = text
    table = read_source(_write_csv(tmp_path / "a.csv", rows))
    assert table.ids == ["m00", "m07"]
    assert [name for name, _ in table.skipped] == [f"m{i:02d}" for i in faults]
    for (_, reason), (_, wanted) in zip(table.skipped, faults.values()):
        assert wanted in reason
    limited = read_source(tmp_path / "a.csv", limit=1)
    assert (limited.ids, limited.skipped) == (["m00"], [])


def test_structures_that_are_no_crystals_of_elements_are_reported(
    structures: list[Structure],
) -> None:
    lattice = Lattice.cubic(4)
    disordered = Structure(lattice, [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])
    dummy = Structure(lattice, [DummySpecies("X")], [[0, 0, 0]])
    table = read_source([structures[0], disordered, dummy, structures[1]])
    assert table.ids == ["m00", "m01"]
    assert [name for name, _ in table.skipped] == ["1", "2"]
    assert "partial occupancies" in table.skipped[0][1]


def test_damaged_frames_and_files_are_reported(tmp_path: Path, structures: list[Structure]) -> None:
    good = _write_extxyz(tmp_path / "good.xyz", [structures[0]]).read_text()
    lattice = 'Lattice="4 0 0 0 4 0 0 0 4"'
    frames = [
        good,
        f"1\n{lattice}\nQq 0 0 0\n",
        "1\nno lattice\nNa 0 0 0\n",
        f'1\n{lattice} pbc="F F F"\nNa 0 0 0\n',
        good,
        f"3\n{lattice}\nNa 0 0 0\n",
    ]
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "many.xyz").write_text("".join(frames))
    (folder / "a.cif").write_text("data_a\n_cell_length_a 4.0\n")
    (folder / "b.cif").write_bytes(b"\xff\xfe\x00")
    (folder / "c.vasp").write_text("old\n1.0\n4 0 0\n0 4 0\n0 0 4\n1 1\ndirect\n0 0 0\n.5 .5 .5\n")
    (folder / "d.cif").write_text("data_global\n_journal_year 1999\n")
    table = read_source(folder)
    assert table.ids == ["m00", "m00"]
    skipped = dict(table.skipped)
    assert list(skipped) == ["a", "b", "c", "d", *(f"many:{i}" for i in (1, 2, 3, 5))]
    assert "name its elements" in skipped["c"]
    assert "periodic" in skipped["many:2"]
    assert "announced" in skipped["many:5"]


def test_sodium_nitride_and_deuterium(tmp_path: Path) -> None:
    lattice = '1\nLattice="4 0 0 0 4 0 0 0 4"\n'
    (tmp_path / "a.xyz").write_text(f"{lattice}D 0 0 0\n{lattice}T 0 0 0\n")
    assert [crystal.numbers.tolist() for crystal in read_source(tmp_path / "a.xyz").crystals] == [
        [1],
        [1],
    ]
    cell = {"cell": [4, 4, 4, 90, 90, 90], "frac": [[0, 0, 0], [0.5, 0.5, 0.5]]}
    rows = [
        {"id": "NaN", "structure": json.dumps({**cell, "species": ["Na", "N"]}), "formula": "NaN"},
        {"id": "nan", "structure": json.dumps({**cell, "species": ["D", "O"]}), "formula": "DO"},
    ]
    table = read_source(_write_csv(tmp_path / "a.csv", rows))
    assert table.ids == ["NaN", "nan"]
    assert table.formulas[0] == "NaN"
    assert table.crystals[1].numbers.tolist() == [1, 8]


def test_a_cif_of_several_blocks_and_a_table_of_cifs(
    tmp_path: Path, structures: list[Structure]
) -> None:
    texts = [str(structure.to(fmt="cif")) for structure in structures[:2]]
    (tmp_path / "two.cif").write_text("data_global\n_journal_year 1999\n" + "\n".join(texts))
    rows: list[dict[str, object]] = [
        {"id": f"two:{i}", "cif": text} for i, text in enumerate(texts)
    ]
    first = read_source(tmp_path / "two.cif")
    second = read_source(_write_csv(tmp_path / "two.csv", rows))
    assert first.ids == second.ids == ["two:0", "two:1"]
    _assert_same(first, second, atol=1e-12)


def test_labels_are_numbers_or_missing(
    tmp_path: Path, structures: list[Structure], caplog: pytest.LogCaptureFixture
) -> None:
    rows = [_row(structure) for structure in structures[:5]]
    for row, value in zip(rows, ["1.5", "", "inf", "n/a", "nan"]):
        row["gap"] = value
    path = _write_csv(tmp_path / "a.csv", rows)
    with caplog.at_level(logging.WARNING):
        gaps = read_source(path, labels={_GAP: "gap"}).labels[_GAP]
    np.testing.assert_array_equal(gaps, [1.5] + [np.nan] * 4)
    assert "1 values of 'gap'" in caplog.text
    assert "'n/a'" in caplog.text
    with pytest.raises(ValueError, match="carries 'gab'; there is: gap, material_id, structure"):
        read_source(path, labels={_GAP: "gab"})
    with pytest.raises(ValueError, match="must say its level"):
        read_source(path, labels={"band_gap": "gap"})


def test_energies_of_calculations_are_labels(tmp_path: Path) -> None:
    text = '1\nLattice="4 0 0 0 4 0 0 0 4" energy=-1.5 gap=2\nNa 0 0 0\n'
    (tmp_path / "a.xyz").write_text(text)
    table = read_source(tmp_path / "a.xyz", labels={"energy@pbe": "energy", _GAP: "gap"})
    assert table.labels["energy@pbe"].tolist() == [-1.5]
    assert table.labels[_GAP].tolist() == [2.0]


@pytest.mark.parametrize("content", ["", "CREATE TABLE mine (id)"])
def test_other_databases_are_refused_and_stay_as_they_are(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a b.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(content)
    path.touch()
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not an ase database"):
        read_source(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("seed", range(4))
def test_damaged_text_never_stops_a_read(
    tmp_path: Path, structures: list[Structure], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    for i, structure in enumerate(structures):
        structure.to(str(tmp_path / f"{i}.cif"))
        Poscar(structure).write_file(tmp_path / f"{i}.vasp")
        _write_extxyz(tmp_path / f"{i}.xyz", [structure])
    for path in sorted(tmp_path.iterdir()):
        content = bytearray(path.read_bytes())
        for place in rng.integers(0, len(content), 3):
            content[place] = rng.integers(32, 127)
        path.write_bytes(content[: rng.integers(len(content) // 2, 2 * len(content))])
    table = read_source(tmp_path)
    assert len(table) + len(table.skipped) >= 60
    assert table.skipped
    for crystal in table.crystals:
        check_crystal(crystal)


def test_what_is_no_source_says_what_would_be(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_text("")
    (tmp_path / "a.csv").write_text("id,formula\n1,NaN\n")
    (tmp_path / "a.csv.gz").write_text("no gzip")
    (tmp_path / "a.db").write_text("no database at all, but long enough to be looked at")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingDataset, match="nowhere"):
        read_source(tmp_path / "nowhere.csv")
    for name, message in {
        "a.docx": r"known are \.csv",
        "a.csv": "structure or cif; it has id, formula",
        "a.csv.gz": "cannot be read",
        "a.db": "not an ase database",
        "empty": "holds none of",
    }.items():
        with pytest.raises(ValueError, match=message):
            read_source(tmp_path / name)
