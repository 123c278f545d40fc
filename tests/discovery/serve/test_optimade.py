"""`discovery serve --optimade`: the standard's validator, and the answers of `discovery query`."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from filter_cases import make_candidate
from optimade.validator import ImplementationValidator
from pymatgen.core import Composition, Lattice, Structure
from typer.testing import CliRunner

from db import campaigns
from db.connection import Session, ensure_indexes
from db.crystals import crystal_fields, record_to_structure, structure_to_record
from discovery.cli import app
from discovery.export.frames import Records

Record = dict[str, Any]
Ask = Callable[..., list[Record]]
#: Starts servers as a user does.
pytestmark = pytest.mark.campaign

SYMBOLS = ["Ga", "N", "In", "As", "O"]
START = datetime(2026, 11, 1, 8, 0, 0, 123000, tzinfo=UTC)


def candidate(number: int, source: random.Random) -> tuple[Record, Record | None]:
    """A candidate with a crystal, and the calculation of a smaller cell of it if verified."""
    symbols = source.sample(SYMBOLS, 3)
    lattice = Lattice.from_parameters(3.5 + source.random(), 4, 5, 90, 90, 100)
    places = [[0, 0, 0], [0.5, 0.5, source.random()], [0.2, 0.7, 0.4]]
    kept = source.choice([2, 3])
    cell = Structure(lattice, symbols[:kept], places[:kept])
    one = make_candidate(number, source)
    one |= {"_id": f"c-{number:03d}", "campaign": source.choice(["one", "two"])}
    one |= {"created_at": START + timedelta(hours=number), "n_elements": kept}
    one |= crystal_fields(cell.make_supercell([2, 1, 1], in_place=False))
    one["element_pairs"] = [f"{a}-{b}" for a in one["elements"] for b in one["elements"] if a < b]
    one["history"] = [{"at": START + timedelta(days=source.randint(1, 9)), "to": "proposed"}]
    if number % 2:
        return one | {"state": "screened"}, None
    one["state"] = "verified"
    name = f"hash-{number}"
    one["verification"] = {
        **one.get("verification", {"band_gap": None}),
        "calculations": {"compound": name, "references": {}},
    }
    result = {"structure": structure_to_record(cell)}
    return one, {"_id": name, "kind": "compound", "state": "completed", "result": result}


@pytest.fixture(scope="module")
def stored(mongo_session: Session) -> list[Record]:
    """Candidates of two campaigns; those without a crystal are not served."""
    database, source = mongo_session.database, random.Random(11)
    for name in ("candidates", "campaigns", "calculations"):
        database[name].delete_many({})
    ensure_indexes()
    for campaign in ("one", "two"):
        campaigns.create(campaign, config={}, seed=0)
    made = [candidate(number, source) for number in range(120)]
    database["candidates"].insert_many([one for one, _ in made])
    database["calculations"].insert_many([two for _, two in made if two])
    bare = make_candidate(500, source) | {"_id": "bare", "campaign": "one", "state": "verified"}
    database["candidates"].insert_one(bare)
    return [one for one, _ in made]


def started(session: Session, *options: str) -> tuple[subprocess.Popen[str], str]:
    """Start a server in a process of its own and wait for its address."""
    uri = session.uri
    command = [sys.executable, "-m", "discovery", "serve", "--optimade", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--db", uri, *options], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"http://\S+:\d+", line):
            return process, found.group()
    raise AssertionError(f"the server ended with {process.wait()}")


@pytest.fixture(scope="module")
def address(stored: list[Record], mongo_session: Session) -> Iterator[str]:
    """The address of a server of the verified candidates."""
    process, found = started(mongo_session)
    yield found
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)


@pytest.fixture
def ask(address: str) -> Ask:
    """Ask for structures as another program does: page by page, by the links."""

    def get(filter: str | None = None, **parameters: Any) -> list[Record]:
        given = {"filter": filter, "page_limit": 7, **parameters}
        answer = requests.get(f"{address}/v1/structures", params=given, timeout=30)
        found = []
        while True:
            assert answer.status_code == 200, answer.text
            body = answer.json()
            found += body["data"]
            if not body["meta"]["more_data_available"]:
                assert body["meta"]["data_returned"] == len(found)
                return found
            answer = requests.get(body["links"]["next"], timeout=30)

    return get


def ids(entries: list[Record]) -> list[str]:
    return [one["id"] for one in entries]


def test_the_validator_of_the_standard_is_satisfied(address: str) -> None:
    validator = ImplementationValidator(base_url=f"{address}/v1", verbosity=0, page_limit=7)
    validator.validate_implementation()
    results = validator.results
    assert validator.valid, results.failure_messages
    # The only thing it misses is literature: "references" is there, and empty.
    (missed,) = results.optional_failure_messages
    assert "references" in missed[1]
    assert results.success_count > 40


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (
            'elements HAS "Ga" AND _discovery_band_gap >= 0.5',
            'elements HAS "Ga" AND band_gap >= 0.5',
        ),
        ('elements HAS ONLY "Ga","N","In"', 'elements HAS ONLY "Ga","N","In"'),
        ("NOT _discovery_band_gap > 0", "NOT band_gap > 0"),
        ("_discovery_hit = TRUE OR nelements = 2", "hit = TRUE OR nelements = 2"),
        ('_discovery_campaign = "one"', 'campaign = "one"'),
    ],
)
def test_a_client_gets_what_query_gives(
    theirs: str, ours: str, ask: Ask, mongo_session: Session, stored: list[Record]
) -> None:
    where = f"({ours}) AND formula IS KNOWN AND natoms IS KNOWN"
    found = Records(mongo_session).query(where=where, status="verified", fields=["id"])
    expected = [one for one in found["id"] if one != "bare"]
    assert expected
    assert ids(ask(theirs)) == expected


def test_the_client_of_the_package_finds_hits(address: str, stored: list[Record]) -> None:
    from optimade.client import OptimadeClient

    filter = 'elements HAS "Ga" AND _discovery_band_gap >= 0.5'
    client = OptimadeClient(base_urls=[address], use_async=False, silent=True)
    (entries,) = client.get(filter, endpoint="structures")["structures"][filter].values()
    expected = {
        one["_id"]
        for one in stored
        if one["state"] == "verified" and "Ga" in one["elements"]
        if (one["properties"].get("band_gap") or 0) >= 0.5
    }
    assert expected
    assert {one["id"] for one in entries["data"]} == expected


def test_what_is_served_can_be_fetched_as_a_reference(
    address: str,
    stored: list[Record],
    ask: Ask,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from agents.tables import parse_structure, read_rows
    from discovery.references.fetch.collection import fetch

    monkeypatch.setenv("DISCOVERY_DATA", str(tmp_path))
    filter = 'elements HAS "Ga" AND _discovery_band_gap >= 0.5'
    report = fetch("hits", address=address, filter=filter, fields=["_discovery_band_gap"])
    rows = list(read_rows(report.tables[0]))
    served = {one["id"]: one["attributes"] for one in ask(filter)}
    assert [row["material_id"] for row in rows] == list(served)
    for row in rows:
        attributes = served[row["material_id"]]
        assert float(row["_discovery_band_gap"]) == attributes["_discovery_band_gap"]
        expected = Structure(
            attributes["lattice_vectors"],
            attributes["species_at_sites"],
            attributes["cartesian_site_positions"],
            coords_are_cartesian=True,
        )
        found = parse_structure(row["structure"])
        np.testing.assert_allclose(found.distance_matrix, expected.distance_matrix, atol=1e-4)


def anonymous(formula: str) -> str:
    """By hand: counts over their divisor, the largest first."""
    counts = sorted(Composition(formula).to_reduced_dict.values(), reverse=True)
    return "".join(
        letter + (str(int(count)) if count > 1 else "") for letter, count in zip("ABC", counts)
    )


@pytest.mark.parametrize(
    ("filter", "true"),
    [
        ("nsites = 3", lambda one: one["n_atoms"] == 6),
        ("NOT nsites > 2", lambda one: one["n_atoms"] == 4),
        ('chemical_formula_anonymous = "ABC"', lambda one: anonymous(one["formula"]) == "ABC"),
        (
            'chemical_formula_reduced STARTS WITH "As"',
            lambda one: "As" in one["elements"],  # alphabetical, unlike the stored formula
        ),
        (
            'last_modified < "2026-11-05T08:00:01Z"',
            lambda one: (
                max(one["created_at"], one["history"][0]["at"])
                < START + timedelta(days=4, seconds=1)
            ),
        ),
        ("nperiodic_dimensions = 3 AND structure_features IS KNOWN", lambda one: True),
        ('structure_features HAS "disorder"', lambda one: False),
        ('NOT structure_features HAS "disorder"', lambda one: True),
        ("structure_features LENGTH 0", lambda one: True),
        ("structure_features LENGTH > 0", lambda one: False),
        ("_other_provider > 3", lambda one: False),
        ("NOT _other_provider > 3", lambda one: False),
        ('type = "structures"', lambda one: True),
    ],
)
def test_conditions_on_values_that_are_not_stored(
    filter: str, true: Callable[[Record], bool], ask: Ask, stored: list[Record]
) -> None:
    served = [one for one in stored if one["state"] == "verified"]
    assert set(ids(ask(filter))) == {one["_id"] for one in served if true(one)}


def test_the_crystal_is_the_one_that_dft_computed(
    ask: Ask, stored: list[Record], mongo_session: Session
) -> None:
    for entry in ask():
        number = int(entry["id"].removeprefix("c-"))
        calculation = mongo_session.database["calculations"].find_one({"_id": f"hash-{number}"})
        assert calculation is not None
        crystal = record_to_structure(calculation["result"]["structure"])
        served = entry["attributes"]
        assert served["_discovery_structure_source"] == "dft"
        assert served["nsites"] == len(crystal)
        np.testing.assert_allclose(served["lattice_vectors"], crystal.lattice.matrix)
        np.testing.assert_allclose(served["cartesian_site_positions"], crystal.cart_coords)
        assert served["species_at_sites"] == [site.specie.symbol for site in crystal]
        assert served["chemical_formula_reduced"] == "".join(
            symbol + (str(int(count)) if count > 1 else "")
            for symbol, count in sorted(crystal.composition.reduced_composition.as_dict().items())
        )
        known = (stored[number].get("verification") or {}).get("band_gap")
        assert served["_discovery_band_gap"] == stored[number]["properties"].get("band_gap", known)


def test_an_order_and_single_entries(ask: Ask, address: str) -> None:
    gaps = [one["attributes"]["_discovery_band_gap"] for one in ask(sort="-_discovery_band_gap")]
    known = [gap for gap in gaps if gap is not None]
    assert known == sorted(known, reverse=True)
    assert gaps[len(known) :] == [None] * (len(gaps) - len(known))
    first = ask()[0]["id"]
    found = requests.get(f"{address}/v1/structures/{first}", timeout=30).json()
    assert found["data"]["id"] == first
    hostile = f'x" OR id="{first}'
    assert requests.get(f"{address}/v1/structures/{hostile}", timeout=30).json()["data"] is None


@pytest.mark.parametrize(
    ("filter", "status"),
    [
        ("band_gap > 1", 400),
        ("_discovery_no_such_thing > 1", 400),
        ("nelements >", 400),
        ('elements HAS "Xx"', 400),
        ("nelements = 1 OR {'$where': 'sleep(1)'}", 400),
        ("(" * 50 + "nelements=2" + ")" * 50, 400),
        ("nelements = 1e400", 400),
        (" OR ".join(["nsites > 0"] * 800), 400),
        ("elements_ratios HAS > 0.4", 501),
        ('species_at_sites HAS "Ga"', 501),
    ],
)
def test_what_cannot_be_understood_gets_one_sentence(
    filter: str, status: int, address: str
) -> None:
    answer = requests.get(f"{address}/v1/structures", params={"filter": filter}, timeout=30)
    assert answer.status_code == status, answer.text
    (error,) = answer.json()["errors"]
    assert "\n" not in error["detail"]
    assert len(error["detail"]) < 400
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "parameters",
    [
        *("page_offset=-1", "page_limit=x", "sort=nsites", "sort=_discovery_nonsense"),
        *("response_format=xml", "nonsense=1", "response_fields=nonsense", "filter=id=%22%00%22"),
    ],
)
def test_wrong_parameters_get_one_sentence(parameters: str, address: str) -> None:
    answer = requests.get(f"{address}/v1/structures?{parameters}", timeout=30)
    assert answer.status_code == 400, answer.text
    (error,) = answer.json()["errors"]
    assert "\n" not in error["detail"]


@pytest.mark.parametrize("offset", [60, 10**20])
def test_behind_the_last_page_there_is_nothing(offset: int, address: str) -> None:
    answer = requests.get(f"{address}/v1/structures?page_offset={offset}", timeout=30).json()
    assert answer["data"] == []
    assert not answer["meta"]["more_data_available"]


def test_patterns_are_texts(ask: Ask) -> None:
    assert ask('chemical_formula_descriptive CONTAINS ".*"') == []
    assert ask('id STARTS WITH "(a+)+$"') == []


def test_nothing_can_be_written(address: str, stored: list[Record], mongo_session: Session) -> None:
    database = mongo_session.database
    before = {name: list(database[name].find()) for name in database.list_collection_names()}
    entry = ids(requests.get(f"{address}/v1/structures", timeout=30).json()["data"])[0]
    for method in ("post", "put", "patch", "delete"):
        for place in ("structures", f"structures/{entry}", "links", "info"):
            answer = requests.request(method, f"{address}/v1/{place}", json={}, timeout=30)
            assert answer.status_code == 405
    after = {name: list(database[name].find()) for name in database.list_collection_names()}
    assert after == before


def test_scripts_of_other_pages_are_not_invited(address: str) -> None:
    answer = requests.get(
        f"{address}/v1/info", headers={"Origin": "https://evil.example"}, timeout=30
    )
    assert "access-control-allow-origin" not in answer.headers


def test_all_serves_the_others_too(stored: list[Record], mongo_session: Session) -> None:
    process, address = started(mongo_session, "--all")
    try:
        body = requests.get(f"{address}/v1/structures?page_limit=200", timeout=30).json()
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert set(ids(body["data"])) == {one["_id"] for one in stored}
    sources = {one["attributes"]["_discovery_structure_source"] for one in body["data"]}
    assert {"dft", "decoded"} <= sources


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
def test_addresses_that_others_reach_are_refused(host: str) -> None:
    result = CliRunner().invoke(app, ["serve", "--optimade", "--host", host])
    assert "authentication" in str(result.exception)
    assert getattr(result.exception, "exit_code", None) == 2
