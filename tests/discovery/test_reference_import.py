"""Importing reference collections, also after a kill, and as a command."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from reference_phases import COLLECTION, crystal, write_table
from typer.testing import CliRunner

from agents.tables import parse_structure, read_rows
from db import reference_structures
from db.connection import Session
from db.crystals import record_to_structure
from discovery import reference_import
from discovery.cli import app
from discovery.reference_import import ImportRefused, import_reference


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "cells.csv.gz"
    write_table(path, {n: crystal(COLLECTION[n][0], int(n[3:])) for n in COLLECTION})
    return path


def rewrite(path: Path, old: str, new: str) -> None:
    with gzip.open(path, "rt") as stream:
        text = stream.read()
    assert old in text
    with gzip.open(path, "wt") as stream:
        stream.write(text.replace(old, new))


def test_every_crystal_is_stored_as_the_table_has_it(database: Session, table: Path) -> None:
    report = import_reference(str(table), name="mine")
    assert (report.name, report.n, report.read, report.skipped, report.bad) == (
        *("mine", 10, 10, 0, ()),
    )
    stored = reference_structures.structures("mine", list(COLLECTION))
    for row in read_rows(table):
        expected = parse_structure(row["structure"])
        assert record_to_structure(stored[row["material_id"]]) == expected
    document = database.database["reference_structures"].find_one({"reference_id": "mp-10"})
    assert document is not None
    assert (document["formula"], document["elements"]) == ("KNaCl2", ["Cl", "K", "Na"])
    assert (document["chemical_system"], document["n_atoms"]) == ("Cl-K-Na", 4)


def test_importing_again_reads_nothing_again(database: Session, table: Path) -> None:
    import_reference(str(table))
    again = import_reference(str(table))
    assert (again.name, again.n, again.read, again.skipped) == ("cells", 10, 0, 10)


def test_an_interrupted_import_continues(
    database: Session, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference_import, "BATCH", 3)

    def interrupt(file: str, rows: int) -> None:
        if rows == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_reference(str(table), progress=interrupt)
    with pytest.raises(reference_structures.UnknownCollection, match="not finished"):
        reference_structures.load("cells")
    seen: list[int] = []
    report = import_reference(str(table), progress=lambda file, rows: seen.append(rows))
    assert (report.n, report.read, report.skipped) == (10, 4, 6)
    assert seen == [9, 10]
    assert reference_structures.load("cells")["complete"]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("mp-3,NaCl,", "mp-3,KCl,", "the formula is KCl"),
        ("mp-3,NaCl,", ",NaCl,", "no material_id"),
        ('""Cl"", ""K""', '""Cl"", ""Xx""', "'Xx' is not an element"),
    ],
)
def test_bad_rows_are_reported_and_left_out(
    database: Session, table: Path, old: str, new: str, reason: str
) -> None:
    if "Xx" in new:
        old, new = '[""K"", ""Cl""]', '[""Xx"", ""Cl""]'
    rewrite(table, old, new)
    report = import_reference(str(table))
    (bad,) = report.bad
    assert reason in bad.reason
    assert report.n == 9
    assert import_reference(str(table)).bad == report.bad


def test_other_files_do_not_replace_a_collection(database: Session, table: Path) -> None:
    import_reference(str(table))
    rewrite(table, "mp-10", "mp-12")
    with pytest.raises(ImportRefused, match="under another name"):
        import_reference(str(table))
    assert import_reference(str(table), name="cells-2").n == 10


def test_what_is_no_table_is_refused(database: Session, tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match="known are mp"):
        import_reference("mpp")
    text = tmp_path / "text.csv.gz"
    text.write_text("material_id")
    with pytest.raises(ImportRefused, match=r"not a csv\.gz"):
        import_reference(str(text))
    with gzip.open(text, "wt") as stream:
        stream.write("a,b\n1,2\n")
    with pytest.raises(ImportRefused, match="lacks the columns material_id"):
        import_reference(str(text))
    with pytest.raises(ImportRefused, match="not a name"):
        import_reference(str(text), name="$where")


def test_the_commands(
    mongo_session: Session, database: Session, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISCOVERY_DATA", str(table.parent))
    runner = CliRunner()
    uri = f"{mongo_session.uri}"
    done = runner.invoke(app, ["data", "import", str(table), "--db", uri, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["n"] == 10
    listed = runner.invoke(app, ["data", "list", "--db", uri, "--json"])
    report = json.loads(listed.stdout)
    assert [one["name"] for one in report["imported"]] == ["cells"]
    assert [one["name"] for one in report["sources"]] == ["mp"]
    text = runner.invoke(app, ["data", "list", "--db", uri])
    assert "imported: 10 crystals" in text.stdout
