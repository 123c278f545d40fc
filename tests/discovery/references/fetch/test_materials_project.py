"""The Materials Project's API: pages, keys, interruptions and lies."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable
from pathlib import Path

import data_server
import numpy as np
import pytest
from data_server import Answer, Asked, DataServer
from known_crystals import QUARTZ, crystals, summary
from pymatgen.core import Structure

from agents.tables import parse_structure, read_rows
from discovery.references.fetch import materials_project
from discovery.references.fetch.collection import fetch
from discovery.references.fetch.session import ATTEMPTS, FetchFailed, PatientSession

KEY = "k3yThatMustNeverBeSeenAnywhere00"
SUMMARY = "/materials/summary/"
N = 11


class Api:
    """What the API has, and what it makes of a question."""

    def __init__(self, server: DataServer) -> None:
        self.server = server
        self.version = "2025.09.25"
        self.documents = [summary(name, one) for name, one in crystals(N).items()]
        server.answers["/heartbeat"] = self.heartbeat
        server.answers[SUMMARY] = self.summary

    def heartbeat(self, asked: Asked) -> Answer:
        return {"status": "OK", "db_version": self.version, "access_controlled_batch_ids": []}

    def summary(self, asked: Asked) -> Answer:
        if asked.headers.get("x-api-key") != KEY:
            return 403, {"Content-Type": "application/json"}, b'{"message": "no such key"}'
        first = int(asked.query["_skip"])
        chosen = self.documents[first : first + int(asked.query["_limit"])]
        fields = asked.query["_fields"].split(",")
        data = [{name: one[name] for name in fields} for one in chosen]
        return {"data": data, "meta": {"total_doc": len(self.documents), "max_limit": 1000}}

    def pages(self) -> list[str]:
        """Return which pages were asked for since the last time."""
        asked = [one.query["_skip"] for one in self.server.asked if one.path == SUMMARY]
        self.server.asked.clear()
        return asked


@pytest.fixture
def api(server: DataServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Api:
    monkeypatch.setenv("MP_API_KEY", KEY)
    monkeypatch.setenv(materials_project.ADDRESS_VARIABLE, server.address)
    monkeypatch.setattr(materials_project, "PAGE", 4)
    return Api(server)


def test_all_pages_become_one_table(api: Api, folder: Path) -> None:
    report = fetch("mp")
    assert api.pages() == ["0", "4", "8"]
    (table,), (card,) = report.tables, report.cards
    assert (table, card.rows) == (folder / "mp_api.csv.gz", N)
    assert card.version == "v2025.09.25 without GNoME"
    rows = list(read_rows(table))
    assert [row["material_id"] for row in rows] == list(crystals(N))
    for row in rows:
        expected = crystals(N)[row["material_id"]]
        found = parse_structure(row["structure"])
        assert found.composition == expected.composition
        assert found.lattice.parameters == pytest.approx(expected.lattice.parameters, abs=1e-6)
    assert list(rows[0]) == [
        *("material_id", "formula", "natoms", "spacegroup", "formation_energy_per_atom"),
        *("band_gap", "e_above_hull", "theoretical", "source", "structure"),
    ]
    assert (rows[0]["e_above_hull"], rows[0]["spacegroup"]) == ("0.0", "225")


def test_a_left_handed_cell_does_not_become_its_mirror_image(api: Api) -> None:
    exchanged = [1, 0, 2]
    left = Structure(
        QUARTZ.lattice.matrix[exchanged], QUARTZ.species, QUARTZ.frac_coords[:, exchanged]
    )
    assert np.linalg.det(left.lattice.matrix) < 0
    assert left.get_space_group_info()[1] == 152
    api.documents = [summary("mp-1", left)]
    table = fetch("mp").tables[0]
    (row,) = read_rows(table)
    assert parse_structure(row["structure"]).get_space_group_info()[1] == 152


def test_only_commercially_usable_materials_are_asked_for_and_kept(api: Api) -> None:
    api.documents[1]["builder_meta"] = {"license": "BY-NC"}
    report = fetch("mp")
    asked = next(one for one in api.server.asked if one.path == SUMMARY).query
    assert asked["batch_id_not_eq"] == "gnome_r2scan_statics"
    assert asked["deprecated"] == "false"
    assert report.cards[0].left_out == [("mp-2", "ValueError: its licence is BY-NC")]
    assert report.cards[0].rows == N - 1


def test_a_material_that_is_no_crystal_is_left_out_and_named(api: Api) -> None:
    half = crystals(N)["mp-2"].as_dict()
    half["sites"][0]["species"][0]["occu"] = 0.5
    api.documents[1]["structure"] = half
    api.documents[2]["structure"] = None
    api.documents[3] = {**api.documents[3], "structure": {"@module": "os", "@class": "system"}}
    left_out = dict(fetch("mp").cards[0].left_out)
    assert list(left_out) == ["mp-2", "mp-3", "mp-4"]
    assert "partially occupied" in left_out["mp-2"]


@pytest.mark.parametrize(
    "faults",
    [("500",), ("cut",), ("429 for 9", "503"), ("longer",), ("502", "cut", "504")],
)
def test_a_bad_connection_costs_only_time(api: Api, faults: tuple[str, ...]) -> None:
    api.server.fail(SUMMARY, "whole", *faults)
    assert fetch("mp").cards[0].rows == N


def test_a_busy_server_gets_the_time_it_asks_for(api: Api, waited: list[float]) -> None:
    api.server.fail(SUMMARY, "429 for 9", "503 for 2")
    fetch("mp")
    assert waited == [9.0, 2.0]


def test_a_server_that_asks_for_too_long_is_left_alone(api: Api, waited: list[float]) -> None:
    api.server.fail(SUMMARY, "429 for 3600")
    with pytest.raises(FetchFailed, match="asks to wait 3600 s"):
        fetch("mp")
    assert waited == []


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("500", "HTTP 500, 5 times"),
        ("cut", "broke off, 5 times"),
        ("half", "no JSON object"),
        ("shorter", "no JSON object"),
        ("html", "no JSON object: .*Checking your browser"),
        ("endless", "more than 1 MiB"),
        ("404", "HTTP 404"),
    ],
)
def test_what_came_is_kept_and_continued(
    api: Api, folder: Path, monkeypatch: pytest.MonkeyPatch, fault: str, message: str
) -> None:
    monkeypatch.setattr(PatientSession, "largest", 1 << 20)
    api.server.fail(SUMMARY, "whole", *[fault] * ATTEMPTS)
    with pytest.raises(FetchFailed, match=message):
        fetch("mp")
    assert not list(folder.glob("*"))[1:]  # nothing but the folder of what is not whole
    api.server.faults.clear()
    api.pages()
    assert fetch("mp").cards[0].rows == N
    assert api.pages() == ["4", "8"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda whole: gzip.compress(whole)[:-30], "no JSON object|Decod"),
        (lambda whole: b"no gzip", "ContentDecodingError"),
        (lambda whole: gzip.compress(b" " * 50_000_000 + whole), "more than 1 MiB"),
    ],
)
def test_a_packed_answer_is_unpacked_with_care(
    api: Api, monkeypatch: pytest.MonkeyPatch, body: Callable[[bytes], bytes], message: str
) -> None:
    monkeypatch.setattr(PatientSession, "largest", 1 << 20)

    def packed(change: Callable[[bytes], bytes]) -> Callable[[Asked], Answer]:
        headers = {"Content-Encoding": "gzip"}
        return lambda asked: (200, headers, change(json.dumps(api.summary(asked)).encode()))

    api.server.answers[SUMMARY] = packed(body)
    with pytest.raises(FetchFailed, match=message):
        fetch("mp")
    api.server.answers[SUMMARY] = packed(gzip.compress)
    assert fetch("mp").cards[0].rows == N


def test_a_torn_page_is_asked_for_again(api: Api, folder: Path) -> None:
    api.server.fail(SUMMARY, "whole", "whole", "404")
    with pytest.raises(FetchFailed):
        fetch("mp")
    pages = folder / ".fetching" / "mp" / "pages.jsonl"
    pages.write_bytes(pages.read_bytes()[:-20])  # as a power cut may leave it
    api.pages()
    assert fetch("mp").cards[0].rows == N
    assert api.pages() == ["4", "8"]


def test_another_version_of_the_database_is_fetched_from_its_beginning(api: Api) -> None:
    api.server.fail(SUMMARY, "whole", "404")
    with pytest.raises(FetchFailed):
        fetch("mp")
    api.version = "2026.01.01"
    api.pages()
    assert fetch("mp").cards[0].version == "v2026.01.01 without GNoME"
    assert api.pages() == ["0", "4", "8"]


def test_a_server_that_repeats_itself_is_stopped(api: Api) -> None:
    first = api.documents[:4]
    whole = api.summary
    api.server.answers[SUMMARY] = lambda asked: (
        {"data": first, "meta": {"total_doc": 1000}}
        if asked.query["_skip"] != "0"
        else whole(asked)
    )
    with pytest.raises(FetchFailed, match="repeats mp-1 after 4 of 1000"):
        fetch("mp")


def test_a_server_that_ends_too_early_is_noticed(api: Api) -> None:
    api.server.answers[SUMMARY] = lambda asked: {"data": [], "meta": {"total_doc": 7}}
    with pytest.raises(FetchFailed, match="ended after 0 of 7"):
        fetch("mp")


def test_without_a_key_nothing_is_asked(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("", "short", KEY + "\n", "ä" * 32):
        monkeypatch.setenv("MP_API_KEY", key)
        with pytest.raises(FetchFailed, match="MP_API_KEY is not"):
            fetch("mp")
    assert api.server.asked == []


def test_the_key_is_never_seen(
    api: Api, folder: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not in files, logs, output or errors, whatever the server does with it."""
    caplog.set_level(logging.DEBUG)
    messages = []
    echo = (400, {"Content-Type": "application/json"}, f'{{"bad key": "{KEY}"}}'.encode())
    whole = api.summary
    for answer in (lambda asked: echo, lambda asked: {"data": [{"material_id": KEY}]}):
        api.server.answers[SUMMARY] = answer
        with pytest.raises(FetchFailed, match="answered with the key") as caught:
            fetch("mp")
        messages.append(str(caught.getrepr()))
    for fault in ("500", "cut", "404", "moved http://localhost:9/elsewhere"):
        api.server.answers[SUMMARY] = whole
        api.server.fail(SUMMARY, *[fault] * ATTEMPTS)
        with pytest.raises(FetchFailed) as caught:
            fetch("mp")
        messages.append(str(caught.value))
        api.server.faults.clear()
    fetch("mp")
    files = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    seen = (
        b"".join(files) + (caplog.text + "".join(messages) + "".join(capfd.readouterr())).encode()
    )
    assert KEY.encode() not in seen


def test_a_refused_key_is_said_to_be_one(api: Api) -> None:
    api.server.answers[SUMMARY] = lambda asked: (403, {}, b"Forbidden")
    with pytest.raises(FetchFailed, match="HTTP 403: the key is refused"):
        fetch("mp")


def test_another_server_never_gets_the_key(api: Api) -> None:
    with data_server.running() as other:
        api.server.fail(SUMMARY, f"moved {other.address}{SUMMARY}")
        with pytest.raises(FetchFailed, match="leads to another server"):
            fetch("mp")
        assert other.asked == []


def test_a_redirect_on_the_same_server_is_followed(api: Api) -> None:
    api.server.answers["/v2/heartbeat"] = api.heartbeat
    api.server.fail("/heartbeat", "moved /v2/heartbeat")
    assert fetch("mp").cards[0].rows == N
    assert api.server.paths()[:2] == ["/heartbeat", "/v2/heartbeat"]


def test_a_pin_is_checked_before_the_table_is_made(api: Api, folder: Path) -> None:
    with pytest.raises(FetchFailed, match="expected 0000"):
        fetch("mp", pins={"mp": "0" * 64})
    assert not (folder / "mp_api.csv.gz").exists()
    digest = fetch("mp").cards[0].sha256
    assert fetch("mp", force=True, pins={"mp": digest}).cards[0].trusted == "given with --sha256"
