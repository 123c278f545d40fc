"""OPTIMADE providers as a source: their pages, their faults, and our own server as one of them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from data_server import Answer, Asked, DataServer
from known_crystals import QUARTZ, crystals, optimade_entry
from optimade.adapters.structures import Structure as OptimadeStructure

from agents.tables import parse_structure, read_rows
from db.connection import Session
from discovery.references.fetch.collection import FetchRefused, fetch
from discovery.references.fetch.pages import Page
from discovery.references.fetch.session import ATTEMPTS, FetchFailed, PatientSession
from discovery.references.importing import import_reference

STRUCTURES = "/optimade/v1/structures"
N = 9
PAGE = 4


class Provider:
    """A provider, with pages as it likes them."""

    def __init__(self, server: DataServer) -> None:
        self.server = server
        self.base = f"{server.address}/optimade"
        self.entries = [optimade_entry(name, one) for name, one in crystals(N).items()]
        self.next_as_object = False
        self.loops = False
        server.answers[STRUCTURES] = self.structures

    def structures(self, asked: Asked) -> Answer:
        first = int(asked.query.get("page_offset", 0))
        chosen = self.entries[first : first + PAGE]
        follows = first + PAGE if not self.loops else first
        link: Any = f"{self.base}/v1/structures?page_offset={follows}"
        more = first + PAGE < len(self.entries)
        link = {"href": link} if self.next_as_object else link
        return {
            "data": chosen,
            "meta": {"data_returned": len(self.entries), "more_data_available": more},
            "links": {"next": link if more or self.loops else None},
        }

    def offsets(self) -> list[str]:
        """Return which pages were asked for since the last time."""
        asked = [one.query.get("page_offset", "0") for one in self.server.asked]
        self.server.asked.clear()
        return asked

    def fetch(self, **changed: Any) -> Any:
        """Fetch its structures as ``example``."""
        options = {"filter": 'elements HAS "Na"', "fields": ["_exmpl_band_gap"], **changed}
        return fetch("example", address=self.base, **options)


@pytest.fixture
def provider(server: DataServer, folder: Path) -> Provider:
    return Provider(server)


@pytest.mark.parametrize("next_as_object", [False, True])
def test_all_pages_become_one_table(provider: Provider, folder: Path, next_as_object: bool) -> None:
    provider.next_as_object = next_as_object
    report = provider.fetch()
    asked = provider.server.asked[0].query
    assert asked["filter"] == 'elements HAS "Na"'
    assert "_exmpl_band_gap" in asked["response_fields"].split(",")
    assert provider.offsets() == ["0", "4", "8"]
    assert report.tables == (folder / "example.csv.gz",)
    rows = list(read_rows(report.tables[0]))
    assert [row["material_id"] for row in rows] == list(crystals(N))
    assert rows[0]["_exmpl_band_gap"] == "5.0"
    assert parse_structure(rows[2]["structure"]).get_space_group_info()[1] == 152


def test_crystals_are_those_of_the_reference_implementation(provider: Provider) -> None:
    full = {
        **{"last_modified": "2026-01-01T00:00:00Z", "elements": ["O", "Si"], "nelements": 2},
        **{"elements_ratios": [2 / 3, 1 / 3], "chemical_formula_reduced": "O2Si", "nsites": 9},
        **{"chemical_formula_descriptive": "SiO2", "chemical_formula_anonymous": "A2B"},
        **{"dimension_types": [1, 1, 1], "nperiodic_dimensions": 3, "structure_features": []},
    }
    entry = optimade_entry("mp-3", QUARTZ, **full)
    expected = OptimadeStructure(entry).as_pymatgen
    provider.entries = [entry]
    (row,) = read_rows(provider.fetch().tables[0])
    found = parse_structure(row["structure"])
    assert found.matches(expected, ltol=1e-4, stol=1e-4, angle_tol=0.01, scale=False)
    assert found.get_space_group_info() == expected.get_space_group_info()


def test_the_fetched_table_is_imported_by_name(provider: Provider, database: Session) -> None:
    provider.fetch()
    report = import_reference("example")
    assert (report.name, report.n) == ("example", N)
    stored = database.database["reference_collections"].find_one({"_id": "example"})
    assert stored is not None
    assert provider.base in stored["version"]
    assert 'elements HAS "Na"' in stored["version"]


def test_what_is_no_ordered_crystal_is_left_out_and_named(provider: Provider) -> None:
    alloy = {"name": "Na", "chemical_symbols": ["Na", "K"], "concentration": [0.5, 0.5]}
    empty = {"name": "Na", "chemical_symbols": ["vacancy"], "concentration": [1.0]}
    provider.entries[0]["attributes"]["species"] = [alloy]
    provider.entries[1]["attributes"]["species"] = [empty]
    provider.entries[3]["attributes"]["lattice_vectors"][2] = [None, None, None]
    provider.entries[4] = {"id": "nothing"}
    card = provider.fetch().cards[0]
    assert [name for name, _ in card.left_out] == ["mp-1", "mp-2", "mp-4", "nothing"]
    assert "not periodic" in dict(card.left_out)["mp-4"]
    assert card.rows == N - 4


@pytest.mark.parametrize("faults", [("500",), ("cut",), ("429 for 5", "503"), ("longer",)])
def test_a_bad_connection_costs_only_time(provider: Provider, faults: tuple[str, ...]) -> None:
    provider.server.fail(STRUCTURES, "whole", *faults)
    assert provider.fetch().cards[0].rows == N


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("500", "HTTP 500, 5 times"),
        ("html", "JSON"),
        ("half", "JSON"),
        ("endless", "more than 1 MiB"),
        ("moved http://localhost:9/", "another server"),
    ],
)
def test_what_came_is_kept_and_continued(
    provider: Provider,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    fault: str,
    message: str,
) -> None:
    monkeypatch.setattr(PatientSession, "largest", 1 << 20)
    provider.server.fail(STRUCTURES, "whole", *[fault] * ATTEMPTS)
    with pytest.raises(FetchFailed, match=message):
        provider.fetch()
    assert not (folder / "example.csv.gz").exists()
    assert capfd.readouterr().out == ""
    provider.server.faults.clear()
    provider.offsets()
    assert provider.fetch().cards[0].rows == N
    assert provider.offsets() == ["4", "8"]


def test_an_error_of_the_provider_is_told(provider: Provider) -> None:
    error = b'{"errors": [{"title": "Bad Request", "detail": "no such property"}]}'
    provider.server.answers[STRUCTURES] = lambda asked: (400, {}, error)
    with pytest.raises(FetchFailed, match="Bad Request: no such property"):
        provider.fetch()


def test_pages_that_go_round_in_circles_are_stopped(provider: Provider) -> None:
    provider.loops = True
    with pytest.raises(FetchFailed, match="circles"):
        provider.fetch()
    assert len(provider.offsets()) <= 3


def test_endless_new_addresses_of_old_crystals_are_stopped(provider: Provider) -> None:
    pages = iter(range(1000))
    provider.server.answers[STRUCTURES] = lambda asked: {
        "data": provider.entries[:PAGE],
        "meta": {},
        "links": {"next": f"{provider.base}/v1/structures?page={next(pages)}"},
    }
    with pytest.raises(FetchFailed, match="circles"):
        provider.fetch()
    assert len(provider.offsets()) <= 3


def test_a_link_to_another_server_is_not_followed(provider: Provider) -> None:
    provider.server.answers[STRUCTURES] = lambda asked: {
        "data": provider.entries[:PAGE],
        "meta": {},
        "links": {"next": "http://localhost:9/v1/structures"},
    }
    with pytest.raises(FetchFailed, match="leads to another server, http://localhost:9"):
        provider.fetch()


@pytest.mark.parametrize(("longest", "asked"), [(100, ["500", "100"]), (50, ["500", "100", None])])
def test_a_provider_of_short_pages_is_asked_for_them(
    provider: Provider, longest: int, asked: list[str | None]
) -> None:
    """The standard lets a provider refuse pages that are longer than it gives (status 403)."""
    refusal = (403, {}, b'{"errors": [{"title": "Forbidden", "detail": "page_limit"}]}')

    def answer(one: Asked) -> Answer:
        if int(one.query.get("page_limit", 1)) > longest:
            return refusal
        return provider.structures(one)

    provider.server.answers[STRUCTURES] = answer
    assert provider.fetch().cards[0].rows == N
    first = [one for one in provider.server.asked if "page_offset" not in one.query]
    assert [one.query.get("page_limit") for one in first] == asked


def test_it_stops_where_it_is_told_to(provider: Provider) -> None:
    assert provider.fetch(most=5).cards[0].rows == 2 * PAGE
    assert provider.offsets() == ["0", "4"]


@pytest.mark.parametrize("filter", ["elements HAS", "x" * 10, "nsites>=", "$where"])
def test_a_filter_that_is_none_is_not_sent(provider: Provider, filter: str) -> None:
    with pytest.raises(FetchRefused, match="filter"):
        provider.fetch(filter=filter)
    assert provider.offsets() == []


def test_what_cannot_be_a_provider_is_refused(provider: Provider) -> None:
    with pytest.raises(FetchFailed, match="base URL"):
        fetch("example", address="file:///etc/passwd", filter="")
    with pytest.raises(FetchFailed, match="is not the name"):
        provider.fetch(fields=["a&b"])
    for name in ("mp", "../x", ""):
        with pytest.raises(FetchRefused, match="cannot be the name"):
            fetch(name, address=provider.base, filter="")


@pytest.mark.parametrize("entries", ["none", "unusable"])
def test_pages_without_end_are_stopped(provider: Provider, entries: str) -> None:
    def answer(asked: Asked) -> Answer:
        follows = int(asked.query.get("page_offset", 0)) + 1
        return {
            "data": [] if entries == "none" else [{"id": "a", "attributes": {}}],
            "meta": {},
            "links": {"next": f"{provider.base}/v1/structures?page_offset={follows}"},
        }

    provider.server.answers[STRUCTURES] = answer
    with pytest.raises(FetchFailed, match=r"infinite loop|in circles"):
        provider.fetch()
    assert len(provider.server.asked) <= 3


def test_empty_pages_are_stopped_whatever_the_client_does(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = (f"{provider.base}/{number}" for number in range(10))
    monkeypatch.setattr(
        "discovery.references.fetch.optimade._Provider.page",
        lambda *_: (Page([], [], next(links)), None),
    )
    with pytest.raises(FetchFailed, match="gives pages without structures"):
        provider.fetch()


@pytest.mark.parametrize("key", ["?api_key=KKK", "#KKK", "ann:KKK@"])
def test_an_address_with_a_key_is_refused(provider: Provider, folder: Path, key: str) -> None:
    base = provider.base
    address = base.replace("://", f"://{key}") if key.endswith("@") else base + key
    with pytest.raises(FetchRefused, match="a user, a password or a query") as caught:
        fetch("example", address=address, filter="")
    assert "KKK" not in str(caught.value)
    assert not folder.exists()
    assert not provider.server.asked


def test_a_link_is_not_shown(provider: Provider) -> None:
    provider.loops = True
    with pytest.raises(FetchFailed, match="in circles") as caught:
        provider.fetch()
    assert "page_offset" not in str(caught.value)


@pytest.mark.parametrize("name", ["mp_api", "c2db_jarvis", "mp20_train"])
def test_the_table_of_a_known_collection_is_not_a_providers(provider: Provider, name: str) -> None:
    with pytest.raises(FetchRefused, match="is a table of a known collection"):
        fetch(name, address=provider.base, filter="")


def test_a_slow_answer_is_given_up(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("discovery.references.fetch.session.LONGEST_ANSWER_SECONDS", 0.2)
    provider.server.always[STRUCTURES] = "drip"
    began = time.monotonic()
    with pytest.raises(FetchFailed, match="is too slow"):
        provider.fetch()
    assert time.monotonic() - began < 10
