"""People's own crystals as a reference collection, in the formats they keep them in."""

from __future__ import annotations

import csv
import gzip
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ase.db import connect as ase_connect
from ase.io import write as ase_write
from known_crystals import cdvae_csv, crystals
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp import Poscar

from agents.screen.duplicates_fingerprint import fingerprint, from_bytes
from db import reference_collections, reference_structures
from db.connection import Session
from db.crystals import record_to_structure
from discovery.references import files as reference_files
from discovery.references.files import open_rows
from discovery.references.importing import ImportRefused, import_reference

KNOWN = {name: one for name, one in crystals(9).items() if name in ("mp-2", "mp-3", "mp-4")}


def frames(path: Path) -> None:
    """Write the crystals as frames of one file."""
    several = []
    for name, one in KNOWN.items():
        atoms = AseAtomsAdaptor.get_atoms(one, msonable=False)
        atoms.info = {"material_id": name, "band_gap": 1.5, "note": "a b"}
        several.append(atoms)
    ase_write(path, several, format="extxyz")


def database(path: Path) -> None:
    with ase_connect(path, type="db") as file:
        for name, one in KNOWN.items():
            atoms = AseAtomsAdaptor.get_atoms(one, msonable=False)
            file.write(atoms, material_id=name, band_gap=1.5)


def structure_list(path: Path) -> None:
    several = []
    for name, one in KNOWN.items():
        structure = one.copy()
        structure.properties = {"material_id": name, "band_gap": 1.5}
        several.append(structure.as_dict())
    path.write_text(json.dumps(several))


def by_id(path: Path) -> None:
    found = {name: {"structure": one.as_dict(), "band_gap": 1.5} for name, one in KNOWN.items()}
    path.write_text(json.dumps(found))


def json_lines(path: Path) -> None:
    with gzip.open(path, "wt") as stream:
        for name, one in KNOWN.items():
            document = {"material_id": name, "band_gap": 1.5, "structure": one.as_dict()}
            stream.write(json.dumps(document) + "\n\n")


def table_with_cif(path: Path) -> None:
    path.write_bytes(cdvae_csv(KNOWN, band_gap=["1.5"] * 3))


def folder(path: Path) -> None:
    (path / "deeper").mkdir(parents=True)
    names = list(KNOWN)
    CifWriter(KNOWN[names[0]]).write_file(path / f"{names[0]}.cif")
    with gzip.open(path / f"{names[1]}.vasp.gz", "wt") as stream:
        stream.write(str(Poscar(KNOWN[names[1]])))
    CifWriter(KNOWN[names[2]], symprec=0.01).write_file(path / "deeper" / f"{names[2]}.cif")
    (path / "notes.txt").write_text("no crystal")


def blocks(path: Path) -> None:
    path.write_text("\n".join(str(CifWriter(one)) for one in KNOWN.values()))


WRITERS: dict[str, Callable[[Path], None]] = {
    "frames.extxyz": frames,
    "rows.db": database,
    "list.json": structure_list,
    "named.json": by_id,
    "lines.jsonl.gz": json_lines,
    "table.csv": table_with_cif,
    "folder": folder,
    "blocks.cif": blocks,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_crystals(database: Session, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    report = import_reference(str(path), name="mine", role="test")
    assert (report.n, report.read, report.bad) == (3, 3, ())
    names = ["mp-2", "deeper/mp-4", "mp-3"] if name == "folder" else list(KNOWN)
    if name == "blocks.cif":
        names = ["blocks:1", "blocks:2", "blocks:3"]
    stored = reference_structures.structures("mine", names)
    for identifier, expected in zip(names, KNOWN.values()):
        if name == "folder":
            expected = KNOWN[identifier.removeprefix("deeper/")]
        found = record_to_structure(stored[identifier])
        assert found.matches(expected, ltol=1e-3, stol=1e-3, angle_tol=0.1, scale=False)
        assert found.get_space_group_info() == expected.get_space_group_info()
    document = database.database["reference_structures"].find_one({"formula": "SiO2"})
    assert document is not None
    assert (document["role"], document["n_atoms"]) == ("test", 9)
    if name not in ("folder", "blocks.cif"):
        assert document["properties"]["band_gap"] == 1.5
    again = fingerprint(record_to_structure(document["structure"]))
    assert from_bytes(document["fingerprint"]) == pytest.approx(again, rel=1e-6)


def test_an_import_again_reads_nothing_again(database: Session, tmp_path: Path) -> None:
    folder(tmp_path / "mine")
    import_reference(str(tmp_path / "mine"))
    again = import_reference(str(tmp_path / "mine"))
    assert (again.name, again.n, again.read, again.skipped) == ("mine", 3, 0, 3)
    (tmp_path / "mine" / "deeper" / "mp-4.cif").unlink()
    with pytest.raises(ImportRefused, match="under another name"):
        import_reference(str(tmp_path / "mine"))


class _Planted:
    """What must never be made of a file."""

    made = False

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> _Planted:
        cls.made = True
        raise AssertionError("a file decided what is called")


def test_nothing_that_a_json_file_names_is_called(database: Session, tmp_path: Path) -> None:
    evil = {"@module": __name__, "@class": "_Planted"}
    document = KNOWN["mp-2"].as_dict() | {"properties": {"id": "x", "y": evil}} | evil
    path = tmp_path / "evil.json"
    path.write_text(json.dumps([document, evil, {"structure": evil}]))
    report = import_reference(str(path))
    assert (report.n, report.n_bad) == (1, 2)
    assert not _Planted.made


def bad_structure(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(KNOWN["mp-2"].as_dict()))
    change(document)
    return document


BAD: list[tuple[Any, str]] = [
    (bad_structure(lambda d: d["sites"][0]["species"][0].update(occu=0.5)), "partially"),
    (bad_structure(lambda d: d["sites"][0]["species"][0].update(element="Q")), "not an element"),
    (bad_structure(lambda d: d["lattice"].update(matrix=[[0] * 3] * 3)), "no volume"),
    (bad_structure(lambda d: d["sites"][0].update(abc=[0, 0, None])), "not finite"),
    (bad_structure(lambda d: d["sites"][0].update(abc=[0, 0, float("nan")])), "not finite"),
    (bad_structure(lambda d: d.update(sites=[])), "positions"),
    (bad_structure(lambda d: d.pop("lattice")), "lattice"),
    ([], "no JSON object"),
    (None, "no JSON object"),
    (7, "no JSON object"),
]


def test_every_bad_entry_is_reported_and_stops_nothing(database: Session, tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    path.write_text(json.dumps([*(one for one, _ in BAD), KNOWN["mp-3"].as_dict()]))
    report = import_reference(str(path))
    assert (report.n, report.n_bad) == (1, len(BAD))
    for bad, (_, reason) in zip(report.bad, BAD, strict=True):
        assert reason in bad.reason, bad


def test_a_bad_frame_line_or_file_is_one_bad_row(database: Session, tmp_path: Path) -> None:
    frames(tmp_path / "a.extxyz")
    text = (tmp_path / "a.extxyz").read_text()
    (tmp_path / "a.extxyz").write_text(text.replace("Si ", "Zz ", 1))
    assert import_reference(str(tmp_path / "a.extxyz")).n_bad == 1
    json_lines(tmp_path / "b.jsonl.gz")
    with gzip.open(tmp_path / "b.jsonl.gz", "at") as stream:
        stream.write("{not json\n[1]\n")
    assert [one.row for one in import_reference(str(tmp_path / "b.jsonl.gz")).bad] == [4, 5]
    folder(tmp_path / "c")
    (tmp_path / "c" / "empty.cif").write_text("")
    (tmp_path / "c" / "bytes.cif").write_bytes(b"\xff\xfe\x00")
    report = import_reference(str(tmp_path / "c"))
    assert sorted(one.id for one in report.bad) == ["bytes", "empty"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"{", "is no JSON"),
        ("a.json", b"[" * 100_000, "is no JSON"),
        ("a.json.gz", b"\x1f\x8bdamaged", "is damaged"),
        ("a.csv", b'material_id,structure\n1,"{', "is damaged"),
        ("a.csv", b"material_id\n1\n", "lacks the columns structure or cif"),
        ("a.csv", b"structure\n1\n", "lacks the columns material_id or id"),
        ("a.db", b"not sqlite", "not an ase database"),
        ("a.extxyz", b"\xff\xfe", "is damaged"),
        ("a.pdf", b"%PDF", "in no known format"),
        ("a.pkl", b"\x80\x04.", "in no known format"),
    ],
)
def test_what_is_no_file_of_crystals_is_refused(
    database: Session, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ImportRefused, match=message):
        import_reference(str(path))
    assert reference_collections.collections() == [] or not any(
        one["complete"] for one in reference_collections.collections()
    )


def test_an_empty_folder_is_refused(database: Session, tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match="holds no CIF"):
        import_reference(str(tmp_path))


def test_what_is_packed_too_well_is_refused(
    database: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("discovery.references.files.LARGEST_TEXT", 1_000_000)
    path = tmp_path / "bomb.json.gz"
    with gzip.open(path, "wb") as stream:
        stream.write(b" " * 20_000_000)
    with pytest.raises(ImportRefused, match="too long"):
        import_reference(str(path))


def test_rows_are_not_parsed_to_be_passed_over(tmp_path: Path) -> None:
    """What a resumed import skips costs reading, not chemistry."""
    path = tmp_path / "a.csv.gz"
    with gzip.open(path, "wt", newline="") as stream:
        table = csv.writer(stream)
        table.writerows([("id", "cif"), *((n, "no crystal at all") for n in range(100))])
    rows = list(open_rows(path))
    assert [row.id for row in rows[:2]] == ["0", "1"]
    assert len(rows) == 100


def test_the_same_crystal_as_left_and_right_handed_cell(database: Session, tmp_path: Path) -> None:
    quartz = KNOWN["mp-3"]
    order = [1, 0, 2]
    left = Structure(quartz.lattice.matrix[order], quartz.species, quartz.frac_coords[:, order])
    path = tmp_path / "left.json"
    path.write_text(json.dumps({"left": {"structure": left.as_dict()}}))
    import_reference(str(path))
    stored = reference_structures.structures("left", ["left"])["left"]
    assert record_to_structure(stored).get_space_group_info()[1] == 152


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.gz"])
def test_a_line_without_end_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(reference_files, "LONGEST_LINE", 1 << 20)
    path = tmp_path / name
    with gzip.open(path, "wt") as stream:
        for _ in range(64):
            stream.write(" " * (1 << 20))
    tracemalloc.start()
    with pytest.raises(reference_files.UnreadableFile, match="a line of more than 1 Mi letters"):
        list(reference_files.open_rows(path))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 1 << 24
