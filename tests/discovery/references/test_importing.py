"""Importing reference collections, also after a kill, and as a command."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pymongo.collection
import pytest
from reference_phases import COLLECTION, crystal, write_table
from typer.testing import CliRunner

from agents.paths import MissingFile
from agents.screen.duplicates_fingerprint import VERSION, fingerprint, from_bytes
from agents.tables import parse_structure, read_rows
from db import reference_collections, reference_structures
from db.connection import Session
from db.crystals import record_to_structure
from db.reference_collections import OutdatedCollection
from discovery.cli import app
from discovery.references import importing as reference_import
from discovery.references import rows as reference_rows
from discovery.references.files import open_rows
from discovery.references.importing import (
    ImportProgress,
    ImportRefused,
    ensure_imported,
    import_reference,
)
from discovery.references.sources import SOURCES


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

    def interrupt(progress: ImportProgress) -> None:
        if progress.rows == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_reference(str(table), progress=interrupt)
    with pytest.raises(reference_collections.UnknownCollection, match="not finished"):
        reference_collections.load("cells")
    seen: list[int] = []
    report = import_reference(str(table), progress=lambda one: seen.append(one.rows))
    assert (report.n, report.read, report.skipped) == (10, 4, 6)
    assert seen == [9, 10]
    assert reference_collections.load("cells")["complete"]


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
    with pytest.raises(ImportRefused, match="damaged"):
        import_reference(str(text))
    with gzip.open(text, "wt") as stream:
        stream.write("a,b\n1,2\n")
    with pytest.raises(ImportRefused, match="lacks the columns material_id or id"):
        import_reference(str(text))
    with pytest.raises(ImportRefused, match="not a name"):
        import_reference(str(text), name="$where")


def test_the_commands(
    mongo_session: Session, database: Session, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISCOVERY_DATA", str(table.parent))
    monkeypatch.setenv("XDG_CACHE_HOME", str(table.parent))
    runner = CliRunner()
    uri = f"{mongo_session.uri}"
    done = runner.invoke(app, ["data", "import", str(table), "--db", uri, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["n"] == 10
    listed = runner.invoke(app, ["data", "list", "--db", uri, "--json"])
    report = json.loads(listed.stdout)
    assert [one["name"] for one in report["imported"]] == ["cells"]
    assert [one["name"] for one in report["sources"]] == list(SOURCES)
    text = runner.invoke(app, ["data", "list", "--db", uri])
    assert "10 crystals" in text.stdout
    assert "discovery data fetch c2db" in text.stdout


def test_a_known_collection_is_imported_on_first_use(
    database: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISCOVERY_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(MissingFile, match="discovery data fetch perov5"):
        ensure_imported("perov5")
    names = iter(COLLECTION)
    for split, n in (("train", 5), ("val", 3), ("test", 2)):
        chosen = {name: crystal(COLLECTION[name][0], 0) for name in islice(names, n)}
        write_table(tmp_path / f"perov5_{split}.csv.gz", chosen)
    calls: list[ImportProgress] = []
    found = ensure_imported("perov5", calls.append)
    assert (found["n"], found["complete"], found["fingerprint_version"]) == (10, True, VERSION)
    assert [(one.file, one.rows) for one in calls] == [
        *(("perov5_train.csv.gz", 5), ("perov5_val.csv.gz", 3), ("perov5_test.csv.gz", 2)),
    ]
    assert (calls[-1].fraction, calls[-1].seconds_left) == (1.0, 0.0)
    assert ensure_imported("perov5", calls.append) == found
    assert len(calls) == 3
    val, _ = reference_structures.of_formulas("perov5", ["NaCl3"], {"val"})
    assert (val.id, val.fingerprint_version) == ("mp-6", VERSION)
    expected = fingerprint(record_to_structure(val.structure))
    np.testing.assert_allclose(from_bytes(val.fingerprint), expected, rtol=1e-6)


def test_what_an_older_version_imported_is_brought_up_to_date(
    database: Session, table: Path
) -> None:
    """Older versions stored neither place, role nor fingerprint, and no version of it."""
    import_reference(str(table), name="mp")
    lacking = ("role", "file", "row", "properties", "fingerprint", "fingerprint_version")
    unset = {"$unset": dict.fromkeys(lacking, 1)}
    database.database["reference_structures"].update_many({}, unset)
    file = "files.cells_csv_gz"
    fields = {f"{file}.{name}": 1 for name in ("fingerprint_version", "role", "n_bad")}
    database.database["reference_collections"].update_one(
        {"_id": "mp"}, {"$unset": fields | {"fingerprint_version": 1}}
    )
    before = reference_collections.load("mp")
    assert before["n"] == 10
    assert len(reference_structures.of_systems("mp", ["Cl-Na"])) == 6  # hulls need no more
    with pytest.raises(OutdatedCollection, match="discovery data import"):
        reference_structures.of_formulas("mp", ["NaCl"])
    old = {"_id": "mp:x", "collection": "mp", "reference_id": "x", "formula": "NaCl"}
    database.database["reference_structures"].insert_one(old)  # what is no crystal any more
    report = import_reference(str(table), name="mp")
    assert (report.n, report.read, report.skipped) == (10, 10, 0)
    after = reference_collections.load("mp")
    same = ("name", "version", "source", "checksum", "n")
    assert [after[key] for key in same] == [before[key] for key in same]
    assert len(reference_structures.of_formulas("mp", ["NaCl"])) == 3


def test_a_repeated_id_is_reported_with_the_row_that_has_it(database: Session, table: Path) -> None:
    rewrite(table, "mp-10,", "mp-4,")
    for _ in range(2):
        report = import_reference(str(table))
        assert (report.n, report.n_bad) == (9, 1)
        assert report.bad[0].reason == "row 4 has the same id"


def test_numbers_of_a_table_are_kept(database: Session, data_dir: Path) -> None:
    import_reference(str(data_dir / "c2db_val.csv.gz"), role="val")
    stored = database.database["reference_structures"].find_one({"row": 1})
    assert stored is not None
    assert stored["properties"] == {
        **{"spacegroup": 59, "spacegroup_moyo": 59, "formation_energy_per_atom": -1.394},
        **{"band_gap": 0.0, "energy_above_hull": 0.205, "workfunction": 4.252684437918168},
        **{"total_energy": -42.224, "dyn_stability_phonons": "low"},
    }
    assert (stored["source"], stored["role"]) == ("C2DB", "val")


def test_a_collection_that_was_never_finished_can_be_begun_with_another_file(
    database: Session, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = table.read_bytes()
    monkeypatch.setattr(reference_import, "BATCH", 3)
    table.write_bytes(whole[: len(whole) * 9 // 10])
    with pytest.raises(ImportRefused, match="damaged"):
        import_reference(str(table))
    table.write_bytes(whole)
    report = import_reference(str(table))
    assert (report.n, report.read, report.bad) == (10, 10, ())


def test_the_role_of_what_is_complete_is_kept(database: Session, table: Path) -> None:
    import_reference(str(table), name="x")
    with pytest.raises(ImportRefused, match=r"has the role known, .* as train under another name"):
        import_reference(str(table), name="x", role="train")
    assert database.database["reference_structures"].distinct("role") == ["known"]
    assert import_reference(str(table), name="y", role="train").read == 10
    with pytest.raises(ImportRefused, match="use one of train, val, test, known"):
        import_reference(str(table), role="trian")


def test_another_role_begins_anew_what_was_not_finished(
    database: Session, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference_import, "BATCH", 3)
    with pytest.raises(KeyboardInterrupt):
        interrupted(table, "x", 3, stop)
    assert import_reference(str(table), name="x", role="train").read == 10
    assert database.database["reference_structures"].distinct("role") == ["train"]


def test_a_file_without_a_crystal_is_no_collection(database: Session, tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    path.write_text("material_id,structure\na,{}\nb,{}\n")
    with pytest.raises(ImportRefused, match=r"cells\.csv has no crystal: row 1: "):
        import_reference(str(path), name="x")
    assert reference_collections.describe("x") is None
    write_table(tmp_path / "cells.csv.gz", {"a": crystal(COLLECTION["mp-1"][0], 1)})
    assert import_reference(str(tmp_path / "cells.csv.gz"), name="x").n == 1


def interrupted(path: Path, name: str, rows: int, what: Callable[[], None]) -> None:
    """Import, and do something once when so many rows were read."""
    left = [what]

    def tell(progress: ImportProgress) -> None:
        if progress.rows >= rows and left:
            left.pop()()

    import_reference(str(path), name=name, progress=tell)


def stop() -> None:
    raise KeyboardInterrupt


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Give another table of the same name."""
    path = tmp_path / "other" / "cells.csv.gz"
    path.parent.mkdir()
    write_table(path, {f"x{n}": crystal(COLLECTION[n][0], int(n[3:])) for n in COLLECTION})
    return path


class KilledError(BaseException):
    """Stands for kill -9."""


def test_killed_while_it_forgets_it_reads_everything_again(
    database: Session, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference_import, "BATCH", 3)
    with pytest.raises(KeyboardInterrupt):
        interrupted(table, "x", 6, stop)

    def kill(self: object, *args: object, **options: object) -> None:
        raise KilledError

    # Before and after the crystals are gone.
    for method in ("delete_many", "delete_one"):
        with monkeypatch.context() as patch:
            patch.setattr(pymongo.collection.Collection, method, kill)
            with pytest.raises(KilledError):
                reference_collections.forget("x")
        report = import_reference(str(table), name="x")
        assert (report.n, report.read, report.skipped) == (10, 10, 0)
        database.database["reference_collections"].update_one({}, {"$set": {"complete": False}})


def test_an_import_stops_when_another_file_takes_its_name(
    database: Session, table: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference_import, "BATCH", 3)
    with pytest.raises(ImportRefused, match="another import of x began"):
        interrupted(table, "x", 3, lambda: interrupted(other, "x", 99, stop))
    stored = reference_collections.load("x")
    ids = database.database["reference_structures"].distinct("reference_id")
    assert stored["n"] == 10
    assert sorted(ids) == sorted(f"x{name}" for name in COLLECTION)
    assert [one["sha256"] for one in stored["files"]] == [open_rows(other).sha256]


def test_two_imports_of_one_file_help_each_other(
    database: Session, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference_import, "BATCH", 3)
    interrupted(table, "x", 3, lambda: interrupted(table, "x", 99, stop))
    assert reference_collections.load("x")["n"] == 10


def test_what_lacks_crystals_does_not_become_complete(
    database: Session, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference_import, "BATCH", 3)

    def empty() -> None:
        database.database["reference_structures"].delete_many({})

    with pytest.raises(ImportRefused, match="x has 7 crystals where 10 were read: import it again"):
        interrupted(table, "x", 3, empty)
    assert import_reference(str(table), name="x").n == 10


@pytest.fixture
def layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with one oblique layer as C2DB's tables write it, in each of them."""
    monkeypatch.setenv("DISCOVERY_DATA", str(tmp_path))
    for split in ("train", "val", "test"):
        record = {"cell": [2.46, 2.46, 15.0, 90, 90, 120], "species": ["C", "C"]}
        record["frac"] = [[0.0, 0.57735, 0.5], [0.5, 0.288675, 0.5]]
        with gzip.open(tmp_path / f"c2db_{split}.csv.gz", "wt", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(["material_id", "source", "structure"])
            table.writerow([f"{split}-1", "C2DB", json.dumps(record)])
    return tmp_path


def bond(database: Session, name: str) -> float:
    """Return the distance of the two atoms of a stored layer."""
    stored = database.database["reference_structures"].find_one({"collection": name})
    assert stored is not None
    return float(record_to_structure(stored["structure"]).get_distance(0, 1))


def test_layers_that_an_older_version_misread_are_read_again(
    database: Session, layers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference_import, "reading_of", lambda _: None)
    tables = reference_rows.C2DB_TABLES
    monkeypatch.setattr(reference_rows, "C2DB_TABLES", ())
    assert ensure_imported("c2db")["n"] == 3
    assert bond(database, "c2db") == pytest.approx(1.07, abs=0.02)
    monkeypatch.setattr(reference_import, "reading_of", reference_rows.reading_of)
    monkeypatch.setattr(reference_rows, "C2DB_TABLES", tables)
    assert not reference_import.is_current(reference_collections.load("c2db"))
    assert ensure_imported("c2db")["n"] == 3
    assert bond(database, "c2db") == pytest.approx(1.42, abs=0.01)
    assert import_reference("c2db").read == 0


def test_a_row_that_is_no_crystal_any_more_is_removed(
    database: Session, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_reference(str(table), name="x")

    def refuse(row: reference_rows.Row, **_: object) -> dict[str, Any]:
        if row.number == 3:
            raise ValueError("it is none")
        return read(row)

    read = reference_rows.read_crystal
    monkeypatch.setattr(reference_rows, "read_crystal", refuse)
    monkeypatch.setattr("discovery.references.importing.reading_of", lambda _: "new")
    report = import_reference(str(table), name="x")
    assert (report.n, report.n_bad) == (9, 1)


def test_somebody_elses_file_of_that_name_is_read_as_it_is_written(
    database: Session, layers: Path
) -> None:
    rewrite(layers / "c2db_val.csv.gz", "C2DB", "mine")
    import_reference(str(layers / "c2db_val.csv.gz"), name="x")
    assert bond(database, "x") == pytest.approx(1.07, abs=0.02)
