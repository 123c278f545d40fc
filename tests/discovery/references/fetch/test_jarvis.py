"""C2DB as JARVIS distributes it."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from data_server import DataServer
from known_crystals import QUARTZ, c2db_entry, c2db_zip, crystals

from agents.download import DownloadFailed
from agents.paths import MissingFile
from agents.tables import parse_structure, read_rows
from db.connection import Session
from discovery.references.fetch import jarvis
from discovery.references.fetch.collection import FetchRefused, fetch
from discovery.references.fetch.session import FetchFailed
from discovery.references.importing import import_reference

FILE = f"/{jarvis.NUMBER}"


@pytest.fixture
def entries(
    server: DataServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> list[dict[str, Any]]:
    """Entries of the server's file."""
    monkeypatch.setenv(jarvis.ADDRESS_VARIABLE, server.address)
    found = [c2db_entry(f"id-{name}", one) for name, one in crystals(5).items()]
    server.files[FILE] = c2db_zip(found)
    return found


def test_the_archive_becomes_a_table(entries: list[dict[str, Any]], folder: Path) -> None:
    report = fetch("c2db")
    assert report.tables == (folder / "c2db_jarvis.csv.gz",)
    assert report.cards[0].trusted == "first seen: nobody publishes one"
    rows = list(read_rows(report.tables[0]))
    assert [row["material_id"] for row in rows] == [entry["id"] for entry in entries]
    assert parse_structure(rows[2]["structure"]).get_space_group_info()[1] == 152
    assert (rows[0]["band_gap"], rows[0]["workfunction"]) == ("1.5", "")
    assert sorted(path.name for path in folder.iterdir()) == [
        *(".fetching", "c2db_jarvis.csv.gz", "c2db_jarvis.fetched.json"),
    ]


def test_cartesian_and_fractional_coordinates_are_told_apart(
    entries: list[dict[str, Any]], server: DataServer
) -> None:
    entries[2]["atoms"] |= {"coords": QUARTZ.cart_coords.tolist(), "cartesian": True}
    server.files[FILE] = c2db_zip(entries)
    row = list(read_rows(fetch("c2db").tables[0]))[2]
    assert parse_structure(row["structure"]).matches(QUARTZ, ltol=1e-4, stol=1e-4, scale=False)


def test_the_fetched_table_is_imported_by_name(
    entries: list[dict[str, Any]], database: Session
) -> None:
    fetch("c2db")
    assert import_reference("c2db").n == 5
    stored = database.database["reference_structures"].find_one({"reference_id": "id-mp-1"})
    assert stored is not None
    assert stored["properties"]["band_gap"] == 1.5
    assert (stored["role"], stored["source"]) == ("known", "C2DB (JARVIS)")


def test_what_is_no_crystal_is_left_out_and_named(
    entries: list[dict[str, Any]], server: DataServer
) -> None:
    del entries[1]["atoms"]
    entries[3]["atoms"]["elements"][0] = "Q"
    server.files[FILE] = c2db_zip([*entries, "nothing"])  # type: ignore[list-item]
    card = fetch("c2db").cards[0]
    assert [name for name, _ in card.left_out] == ["id-mp-2", "id-mp-4", "entry 6"]
    assert card.rows == 3


def bomb() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(jarvis.MEMBER, b" " * 50_000_000)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\3\4 damaged", "is not an archive"),
        (c2db_zip([], member="../../c2db_atoms.json"), "is not an archive with"),
        (c2db_zip({"a": 1}), "is no list"),  # type: ignore[arg-type]
        (c2db_zip([]), "is a crystal"),
        (bomb(), "unpacks to more than"),
    ],
)
def test_what_is_not_the_archive_is_refused(
    entries: list[dict[str, Any]],
    server: DataServer,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    message: str,
) -> None:
    monkeypatch.setattr(jarvis, "LARGEST", 10_000_000)
    server.files[FILE] = content
    with pytest.raises(FetchFailed, match=message):
        fetch("c2db")
    assert [path.name for path in folder.iterdir()] == [".fetching"]
    assert not list(folder.rglob("*.zip"))


@pytest.mark.parametrize("fault", ["half", "shorter", "html"])
def test_a_damaged_download_is_not_kept(
    entries: list[dict[str, Any]], server: DataServer, folder: Path, fault: str
) -> None:
    server.fail(FILE, fault)
    with pytest.raises((FetchFailed, DownloadFailed)):
        fetch("c2db")
    assert fetch("c2db").cards[0].rows == 5


def test_a_card_without_its_table_is_not_believed(
    entries: list[dict[str, Any]], server: DataServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed between the new card and the new table."""
    fetch("c2db")
    server.files[FILE] = packed = c2db_zip(entries[:4])
    pins = {jarvis.FILE: hashlib.sha256(packed).hexdigest()}
    write_card = jarvis.write_card

    def killed(*arguments: Any) -> None:
        write_card(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(jarvis, "write_card", killed)
    with pytest.raises(KeyboardInterrupt):
        fetch("c2db", force=True, pins=pins)
    monkeypatch.setattr(jarvis, "write_card", write_card)
    with pytest.raises(FetchRefused, match=r"is not the table that .* describes .*--force"):
        fetch("c2db")
    with pytest.raises(MissingFile, match="is not the table that"):
        import_reference("c2db")
    assert fetch("c2db", force=True, pins=pins).cards[0].rows == 4
    assert fetch("c2db").already


def test_what_was_downloaded_is_kept_when_it_is_interrupted_or_the_disk_is_full(
    entries: list[dict[str, Any]], server: DataServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table = jarvis.write_table
    for fault, seen in ((KeyboardInterrupt(), KeyboardInterrupt), (OSError(28, "x"), FetchFailed)):

        def fail(*_: Any, fault: BaseException = fault) -> int:
            raise fault

        monkeypatch.setattr(jarvis, "write_table", fail)
        with pytest.raises(seen):
            fetch("c2db")
    monkeypatch.setattr(jarvis, "write_table", write_table)
    assert fetch("c2db").cards[0].rows == 5
    assert server.paths() == [FILE]


def test_what_was_downloaded_from_elsewhere_is_not_taken(
    entries: list[dict[str, Any]], server: DataServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor what is to be fetched again."""
    server.files[f"/elsewhere{FILE}"] = c2db_zip(entries[:2])
    write_table = jarvis.write_table

    def stop(*_: Any) -> int:
        raise KeyboardInterrupt

    def interrupted(**options: Any) -> None:
        monkeypatch.setattr(jarvis, "write_table", stop)
        with pytest.raises(KeyboardInterrupt):
            fetch("c2db", **options)
        monkeypatch.setattr(jarvis, "write_table", write_table)

    interrupted(address=f"{server.address}/elsewhere")
    assert fetch("c2db").cards[0].rows == 5
    interrupted(force=True)
    server.asked.clear()
    assert fetch("c2db", force=True).cards[0].rows == 5
    assert server.paths() == [FILE]
