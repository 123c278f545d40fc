"""Queries, and what every query and write of the hot path costs and guards."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from pymongo.cursor import Cursor
from pymongo.errors import AutoReconnect

from db import calculations, candidates, events, generations, queries
from db.candidates import UnknownCandidate
from db.connection import Session
from db.documents import Candidate
from db.property_table import properties
from db.states import State

PREDICTIONS = [
    {"property": "band_gap", "model": "megnet", "level": "pbe", "value": 1.0},
    {"property": "band_gap", "model": "head", "level": "castelli", "value": 2.0},
    {"property": "band_gap", "model": "head", "level": "gpaw", "value": 3.0},
]


@pytest.fixture
def crystals(propose: Callable[..., list[str]], advance: Callable[[str, State], None]) -> list[str]:
    a, b, c = propose(3)
    for name, elements, energy in ((a, ["In", "Ga"], -1.0), (b, ["Ga"], -2.0)):
        candidates.set_fields(
            name,
            state=State.PROPOSED,
            token=0,
            updates={
                "elements": elements,
                "formula": "-".join(elements),
                "relaxation": {"formation_energy_per_atom": energy},
            },
        )
    advance(a, State.VERIFYING)
    candidates.transition(
        a,
        source=State.VERIFYING,
        to=State.VERIFIED,
        token=0,
        agent="verify",
        updates={"verification": {"hit": True, "band_gap": 1.4}},
        predictions=PREDICTIONS,
    )
    return [a, b, c]


def ids(**conditions: Any) -> list[str]:
    return [record["id"] for record in queries.find("c", **conditions)]


def test_conditions_choose_and_sort(crystals: list[str]) -> None:
    a, b, c = crystals
    assert ids() == [a, b, c]
    assert ids(status="verified") == [a]
    assert ids(status=["verified", State.PROPOSED]) == [a, b, c]
    assert ids(hits=True) == [a]
    assert ids(elements=["Ga"]) == [a, b]
    assert ids(elements=["Ga", "In"]) == [a]
    assert ids(formula="Ga") == [b]
    assert ids(limit=2) == [a, b]
    assert ids(sort="relaxation.formation_energy_per_atom") == [b, a, c]
    assert ids(sort="-relaxation.formation_energy_per_atom", limit=2) == [a, b]
    assert ids(sort="band_gap_megnet", limit=1) == [a]
    assert [record["id"] for record in queries.find()] == [a, b, c]
    assert queries.find("other") == []
    with pytest.raises(ValueError, match="'done' is not a state: use one of proposed, "):
        queries.find("c", status="done")


@pytest.mark.parametrize("sort", ["band_gab", "-relaxation.volum", "properties.band_gap_mgnet"])
def test_sorting_by_what_no_candidate_has_is_refused_by_name(
    crystals: list[str], sort: str
) -> None:
    with pytest.raises(ValueError, match=sort.removeprefix("-").removeprefix("properties.")):
        ids(sort=sort)


@pytest.mark.parametrize("sort", ["relaxation", "-verification", "elements", "history"])
def test_sorting_by_a_table_or_list_is_refused_by_name(crystals: list[str], sort: str) -> None:
    with pytest.raises(ValueError, match=f"'?{sort.removeprefix('-')}'? is (no field|a list)"):
        ids(sort=sort)


def test_levels_with_dots_in_their_names_sort(crystals: list[str]) -> None:
    a, b, c = crystals
    for name, value in ((b, 2.0), (c, 1.0)):
        found = candidates.lease("c", State.PROPOSED, "w", 1, 60)[0]
        assert found.id == name
        two = [
            {"property": "band_gap", "model": "m", "level": level, "value": value}
            for level in ("chgnet-0.3.0", "pbe")
        ]
        candidates.transition(
            name,
            source=State.PROPOSED,
            to=State.EVALUATED,
            token=found.token,
            agent="test",
            predictions=two,
        )
    for sort in ("band_gap_m@chgnet-0.3.0", "properties.band_gap_m@chgnet-0.3.0"):
        assert ids(sort=sort) == [c, b, a]


def test_sort_and_limit_apply_to_all_campaigns_together(
    propose: Callable[..., list[str]],
) -> None:
    energies = {"c": [-1.0, -4.0, -2.0], "b": [-3.0, -5.0, 0.0]}
    known = {}
    for campaign, values in energies.items():
        for name, energy in zip(propose(3, campaign=campaign), values, strict=True):
            updates = {"relaxation": {"max_force": energy}}
            candidates.set_fields(name, state=State.PROPOSED, token=0, updates=updates)
            known[name] = energy
    lowest = [record["id"] for record in queries.find(sort="max_force", limit=3)]
    assert [known[name] for name in lowest] == [-5.0, -4.0, -3.0]
    highest = [record["id"] for record in queries.find(sort="-relaxation.max_force", limit=2)]
    assert [known[name] for name in highest] == [0.0, -1.0]
    first = [(record["campaign"], record["seq"]) for record in queries.find(limit=4)]
    assert first == [("b", 0), ("b", 1), ("b", 2), ("c", 0)]


def test_every_write_keeps_the_table_of_numbers(
    propose: Callable[..., list[str]], database: Session
) -> None:
    """What filters look at is written with what it is made from, and removed with it."""
    (name,) = propose(1, predictions=[PREDICTIONS[1]], elements=["Ga", "N"])

    def stored() -> dict[str, Any]:
        found = database.database["candidates"].find_one({"_id": name})
        assert found is not None
        whole = {key: value for key, value in properties(found).items() if "@" not in key}
        assert found["properties"] == whole
        return found

    assert stored()["properties"] == {"band_gap_head": 2.0}
    assert stored()["levels"] == {"band_gap_head": {"castelli": 2.0}}
    assert stored()["n_elements"] == 2
    candidates.set_fields(
        name,
        state=State.PROPOSED,
        token=0,
        updates={"elements": ["Ga"], "verification": {"band_gap": 1.0, "hit": True}},
    )
    assert stored()["n_elements"] == 1
    assert ids(where="band_gap = 1 AND nelements = 1") == [name]
    candidates.set_fields(
        name, state=State.PROPOSED, token=0, updates={"verification.band_gap": 3.0}
    )
    candidates.transition(
        name,
        source=State.PROPOSED,
        to=State.EVALUATED,
        token=0,
        agent="test",
        predictions=[PREDICTIONS[2], {**PREDICTIONS[0], "model": "DPA-3.1:Omat"}],
    )
    assert stored()["properties"] == {
        **{"band_gap": 3.0, "band_gap_head": 3.0, "band_gap_dpa_3_1_omat": 1.0}
    }
    assert ids(where="band_gap_head.castelli = 2 AND band_gap_head.gpaw = 3") == [name]
    updates = {"verification": {}, "elements": []}
    candidates.set_fields(name, state=State.EVALUATED, token=0, updates=updates)
    assert "band_gap" not in stored()["properties"]
    assert ids(where="band_gap IS UNKNOWN AND nelements IS UNKNOWN") == [name]


def test_a_long_answer_is_not_cut_off(
    crystals: list[str], profile: Callable[[], list[dict[str, Any]]]
) -> None:
    """The driver's limit of 30 s is for one answer of the server; reading may take an hour."""
    assert len(ids(sort="-hit")) == 3
    finds = [one["command"] for one in profile() if "find" in one["command"]]
    limits = [one["maxTimeMS"] for one in finds if one["find"] == "candidates"]
    assert len(limits) == 2
    assert min(limits) > 1_000_000


def test_a_reader_goes_on_where_the_connection_broke(
    crystals: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken: list[int] = []

    def breaking(cursor: Any) -> dict[str, Any]:
        if len(broken) < 2 and cursor.retrieved:  # after the first record, twice
            broken.append(cursor.retrieved)
            raise AutoReconnect("the server restarts")
        return original(cursor)

    original = Cursor.next
    monkeypatch.setattr(Cursor, "__next__", breaking)
    assert ids(sort="id") == sorted(crystals)
    assert len(broken) == 2


def test_records_are_plain_json_with_a_table_of_properties(crystals: list[str]) -> None:
    record = queries.get(crystals[0])
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["properties"] == {
        "band_gap": 1.4,
        "band_gap_megnet": 1.0,
        "band_gap_head": 3.0,
        "band_gap_head@castelli": 2.0,
        "band_gap_head@gpaw": 3.0,
    }
    assert record["history"][0]["at"].endswith("+00:00")
    with pytest.raises(UnknownCandidate):
        queries.get("no-such")


@pytest.fixture
def profile(database: Session) -> Any:
    """The server's record of every operation on our collections."""
    database.database.command("profile", 2)

    def entries() -> list[dict[str, Any]]:
        database.database.command("profile", 0)
        return list(database.database["system.profile"].find({"ns": {"$regex": "test\\.[a-z]+"}}))

    yield entries
    database.database.command("profile", 0)
    database.database.drop_collection("system.profile")


def test_no_query_scans_a_collection_and_no_update_of_a_candidate_is_unguarded(
    propose: Callable[..., list[str]],
    advance: Callable[[str, State], None],
    profile: Callable[[], list[dict[str, Any]]],
) -> None:
    names = propose(30, proposer="genetic", episode=0, generation=0)
    propose(30, campaign="other")
    leased = candidates.lease("c", State.PROPOSED, "w", 3, 0.02)
    candidates.renew({found.id: found.token for found in leased}, "w", 0.02)
    candidates.release(leased[0].id, leased[0].token)
    time.sleep(0.05)
    candidates.reap("c")
    candidates.lease("c", State.PROPOSED, "w", 1, 0.001)
    time.sleep(0.01)
    candidates.reap("c", max_attempts=1)
    advance(names[9], State.RELAXED)
    candidates.set_fields(names[8], state=State.PROPOSED, token=0, updates={"formula": "Ga"})
    selection = {"selection": {"position": 0}}
    candidates.set_fields(names[7], state=State.PROPOSED, token=0, updates=selection)
    for summary in (candidates.counts, candidates.rejections, candidates.reached, events.events):
        summary("c")
    candidates.count_by("c", "proposer")
    chosen = Candidate.objects(campaign="c", selection__position__exists=True)
    assert [found.id for found in chosen.only("state")] == names[7:8]
    assert chosen.filter(state="proposed").count() == 1
    for conditions in (
        *({}, {"status": "proposed"}, {"elements": ["Ga"]}, {"formula": "Ga"}),
        *({"sort": "band_gap"}, {"sort": "-hit"}, {"where": "NOT natoms = 3 OR band_gap > 1"}),
        *({"where": "band_gap_megnet IS UNKNOWN", "sort": "formula"}, {"hits": False}),
    ):
        queries.find("c", **conditions)
        queries.find(**conditions)
    with pytest.raises(ValueError, match="band_gap_no_such"):
        queries.find(where="band_gap_no_such > 1 AND energy_above_hull_none.pbe < 0")
    calculations.claim(
        {
            **{"hash": "h", "kind": "compound", "code": "gpaw", "version": "1"},
            **{"settings": {}, "structure": {}, "formula": "Ga"},
        }
    )
    calculations.find(state="submitting")
    calculations.find(kind="compound", formula="Ga")
    calculations.find(candidate="x")
    generations.load("c", episode=0)
    operations = profile()
    watched = [one for one in operations if "system." not in one["ns"]]
    assert len(watched) > 40
    scans = [one for one in watched if "COLLSCAN" in one.get("planSummary", "")]
    assert [(one["ns"], one["command"]) for one in scans] == []
    asked = [(str(one["command"].get("pipeline", one["command"])), one) for one in watched]
    counted = [one for text, one in asked if "'history.to': '" in text or "'_id': '$state'" in text]
    assert len(counted) == len(State) + 1
    for one in counted:  # answered by an index alone
        assert one["docsExamined"] == 0, one["command"]
    chosen_for_dft = [one for text, one in asked if "'selection.position': {'$exists'" in text]
    assert len(chosen_for_dft) == 2
    for one in chosen_for_dft:
        assert one["docsExamined"] <= 1, (one["planSummary"], one["command"])
    writes = [
        one["command"]
        for one in watched
        if one["ns"].endswith(".candidates")
        and (one["op"] == "update" or "findAndModify" in one["command"])
    ]
    assert len(writes) >= 12
    for command in writes:
        guard = str(command.get("q") or command.get("query"))
        assert "'token'" in guard or "'lease.expires_at'" in guard or "'lease'" in guard, guard
