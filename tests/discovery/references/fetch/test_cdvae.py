"""CDVAE's data sets, fetched into the layout of the data folder."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import resource
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from data_server import DataServer
from known_crystals import cdvae_csv, crystals
from pymatgen.core import Structure

from agents.download import ATTEMPTS, DownloadFailed
from agents.tables import parse_structure, read_rows
from db import reference_collections
from db.connection import Session
from discovery.references.fetch import cdvae
from discovery.references.fetch.cdvae import CdvaeSet
from discovery.references.fetch.collection import FetchRefused, fetch
from discovery.references.fetch.session import FetchFailed
from discovery.references.fetch.source import FetchProgress
from discovery.references.importing import import_reference

SIZES = {"train": 4, "val": 3, "test": 2}


@pytest.fixture
def known(server: DataServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Crystals of each split, which the server has."""
    monkeypatch.setitem(cdvae.SETS, "mp20", CdvaeSet("mp_20", SIZES, "official"))
    monkeypatch.setenv(cdvae.ADDRESS_VARIABLE, server.address)
    everything = list(crystals(sum(SIZES.values())).items())
    splits, start = {}, 0
    for split, n in SIZES.items():
        splits[split] = dict(everything[start : start + n])
        columns = {"band_gap": [0.5] * n, "e_above_hull": ["", *[0.01] * (n - 1)]}
        columns["spacegroup.number"] = [225] * n
        server.files[f"/mp_20/{split}.csv"] = cdvae_csv(splits[split], **columns)
        start += n
    return splits


def names(folder: Path) -> list[str]:
    """Return all files but the lock, from the data folder."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return sorted(path.relative_to(folder).as_posix() for path in found)


WHOLE = [f"mp20_{split}{end}" for split in SIZES for end in (".csv.gz", ".fetched.json")]


def test_tables_hold_the_crystals_of_the_repository(known: Any, folder: Path) -> None:
    report = fetch("mp20", processes=1)
    assert names(folder) == sorted(WHOLE)
    assert [card.rows for card in report.cards] == [4, 3, 2]
    for split, table in zip(SIZES, report.tables):
        rows = list(read_rows(table))
        assert [row["material_id"] for row in rows] == list(known[split])
        for row in rows:
            expected: Structure = known[split][row["material_id"]]
            found = parse_structure(row["structure"])
            assert found.matches(expected, ltol=1e-4, stol=1e-4, angle_tol=0.01, scale=False)
            assert found.get_space_group_info() == expected.get_space_group_info()
            assert row["formula"] == expected.composition.reduced_formula
            assert (row["band_gap"], row["spacegroup_official"]) == ("0.5", "225")
            assert (row["natoms"], row["source"]) == (str(len(expected)), "official")
    quartz = parse_structure(list(read_rows(report.tables[0]))[2]["structure"])
    assert quartz.get_space_group_info()[1] == 152


def test_what_was_fetched_is_imported_with_its_origin(
    known: Any, database: Session, server: DataServer
) -> None:
    fetch("mp20", processes=1)
    report = import_reference("mp20")
    assert (report.n, report.bad) == (9, ())
    found = reference_collections.load("mp20")
    assert found["version"].startswith(f"split of CDVAE, {server.address}")
    assert server.address in found["retrieved"]
    stored = database.database["reference_structures"].find_one({"reference_id": "mp-6"})
    assert stored is not None
    assert (stored["role"], stored["formula"]) == ("val", "NaCl")
    assert stored["properties"]["energy_above_hull"] == 0.01


def test_nothing_is_fetched_twice(known: Any, server: DataServer, folder: Path) -> None:
    fetch("mp20", processes=1)
    before = {name: (folder / name).read_bytes() for name in WHOLE}
    asked = len(server.asked)
    assert fetch("mp20").already
    assert len(server.asked) == asked
    again = fetch("mp20", force=True, processes=1)
    assert [card.trusted for card in again.cards] == ["the same as before"] * 3
    tables = [name for name in WHOLE if name.endswith(".gz")]
    assert {name: (folder / name).read_bytes() for name in tables} == {
        name: before[name] for name in tables
    }


def test_a_table_that_was_not_fetched_is_never_replaced(known: Any, folder: Path) -> None:
    folder.mkdir()
    (folder / "mp20_val.csv.gz").write_bytes(b"mine")
    for force in (False, True):
        with pytest.raises(FetchRefused, match="was not fetched"):
            fetch("mp20", force=force)
    assert (folder / "mp20_val.csv.gz").read_bytes() == b"mine"


@pytest.mark.parametrize("faults", [("cut",), ("500", "cut", "503"), ("429 for 3",), ("longer",)])
def test_a_bad_connection_costs_only_time(
    known: Any, server: DataServer, folder: Path, faults: tuple[str, ...]
) -> None:
    server.fail("/mp_20/val.csv", *faults)
    fetch("mp20", processes=1)
    assert names(folder) == sorted(WHOLE)


def test_what_was_downloaded_before_a_failure_is_kept(
    known: Any, server: DataServer, folder: Path
) -> None:
    server.fail("/mp_20/test.csv", *["cut"] * ATTEMPTS)
    with pytest.raises(DownloadFailed, match=r"test\.csv could not be fetched"):
        fetch("mp20", processes=1)
    assert not [name for name in names(folder) if "/" not in name]
    server.asked.clear()
    fetch("mp20", processes=1)
    assert server.paths() == ["/mp_20/test.csv"]
    assert "range" in server.asked[0].headers
    assert names(folder) == sorted(WHOLE)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("shorter", "damaged"),
        ("half", "damaged"),
        ("html", "web page"),
        ("404", "404"),
    ],
)
def test_no_table_is_made_of_what_is_not_the_file(
    known: Any, server: DataServer, folder: Path, fault: str, message: str
) -> None:
    server.always["/mp_20/val.csv"] = fault
    with pytest.raises((FetchFailed, DownloadFailed), match=message):
        fetch("mp20", processes=1)
    assert not [name for name in names(folder) if "/" not in name]
    server.always.clear()
    fetch("mp20", processes=1)  # nothing damaged was kept
    assert names(folder) == sorted(WHOLE)


def test_another_file_than_before_is_refused_until_it_is_accepted(
    known: Any, server: DataServer, folder: Path
) -> None:
    fetch("mp20", processes=1)
    before = (folder / "mp20_val.csv.gz").read_bytes()
    changed = cdvae_csv(known["test"] | dict(list(known["val"].items())[:1]))
    server.files["/mp_20/val.csv"] = changed
    digest = hashlib.sha256(changed).hexdigest()
    with pytest.raises(FetchFailed, match=f"is not the file .* is {digest} now"):
        fetch("mp20", force=True, processes=1)
    assert (folder / "mp20_val.csv.gz").read_bytes() == before
    report = fetch("mp20", force=True, processes=1, pins={"val.csv": digest})
    assert report.cards[1].trusted == "given with --sha256"
    assert (folder / "mp20_val.csv.gz").read_bytes() != before


def test_a_pinned_checksum_is_checked(known: Any, folder: Path) -> None:
    with pytest.raises(DownloadFailed, match="expected 0000"):
        fetch("mp20", pins={"train.csv": "0" * 64}, processes=1)
    assert not [name for name in names(folder) if name.endswith(".csv.gz")]


def test_what_is_no_crystal_is_left_out_and_named(
    known: Any, server: DataServer, folder: Path
) -> None:
    text = server.files["/mp_20/val.csv"].decode()
    broken = text.replace("  Cl  Cl", "  Xx  Xx")
    assert broken != text
    server.files["/mp_20/val.csv"] = broken.encode()
    report = fetch("mp20", processes=1)
    assert [card.rows for card in report.cards] == [4, 2, 2]
    ((name, reason),) = report.cards[1].left_out
    assert (name, report.cards[1].n_left_out) == ("mp-6", 1)
    assert "Error" in reason
    card = json.loads((folder / "mp20_val.fetched.json").read_text())
    assert card["left_out"] == [[name, reason]]


def test_a_folder_that_cannot_be_written_is_named(
    known: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DISCOVERY_DATA", str(tmp_path / "file" / "data"))
    with pytest.raises(FetchRefused, match="set DISCOVERY_DATA"):
        fetch("mp20")


def test_a_full_disk_is_one_clear_sentence(
    known: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit on the size of files stands in for a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises((FetchFailed, DownloadFailed), match="File too large"):
            fetch("mp20", processes=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [name for name in names(folder) if "/" not in name]
    fetch("mp20", processes=1)
    assert names(folder) == sorted(WHOLE)


def test_a_killed_fetch_leaves_no_table_and_is_continued(
    known: Any, server: DataServer, folder: Path
) -> None:
    def until_the_second_table() -> None:
        def hang(progress: FetchProgress) -> None:
            if (progress.what, progress.unit) == ("val.csv", "crystals"):
                time.sleep(60)

        fetch("mp20", processes=1, progress=hang)

    child = multiprocessing.get_context("fork").Process(target=until_the_second_table)
    child.start()
    deadline = time.monotonic() + 30
    while not (folder / "mp20_val.csv.gz.part").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(FetchFailed, match="by another process"):
        fetch("mp20")
    child.kill()
    child.join()
    assert not [name for name in names(folder) if name.endswith((".gz", ".json"))]
    server.asked.clear()
    fetch("mp20", processes=1)
    assert server.paths() == ["/mp_20/test.csv"]
    assert names(folder) == sorted(WHOLE)
