"""The hull in a campaign: decided at the start, waited for, shown."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from agents.relax.hull_settings import HullSettings
from db import campaigns, candidates, generations, reference_collections, reference_structures
from db.connection import Session
from db.reference_collections import UnknownCollection
from db.states import State
from discovery.campaign.config import load_campaign
from discovery.campaign.resolution import describe, resolve_hull
from discovery.campaign.rounds import first_open
from discovery.export.candidates import full_record
from discovery.lineage.view import describe as describe_candidate
from discovery.reports.status import hull_counts
from discovery.workers.runtime import Runtime

PLACED = {
    "energy_above_hull": 0.042,
    "decomposition": [{"id": "mp-22862", "formula": "NaCl", "amount": 1.0}],
    "level": "chgnet-0.3.0",
    "reference": "mp v1",
    "n_phases": 28,
    "n_relaxed": 4,
    "n_left_out": 3,
}


def imported() -> None:
    done = {"sha256": "ab" * 32, "read": 1, "bad": [], "complete": True}
    reference_collections.note_file("mp", "a.csv.gz", done, version="v1", source="x", complete=True)


def screened(name: str, episode: int = 0) -> str:
    (made,) = candidates.insert_proposals(
        "c",
        [{**ORIGIN, "codes_hash": name, "episode": episode}],
    )
    for source, to in WAY:
        candidates.transition(made, source=source, to=to, token=0, agent="test")
    return made


CODES = {"species": [1], "crystal": [1], "local": [[1]]}
ORIGIN = {
    **{"generator_version": "g", "codes": CODES, "base_id": "b", "proposer": "donor"},
    **{"episode": 0, "generation": 0},
}
WAY = [
    (State.PROPOSED, State.EVALUATED),
    (State.EVALUATED, State.PRESCREENED),
    (State.PRESCREENED, State.RELAXING),
    (State.RELAXING, State.RELAXED),
    (State.RELAXED, State.SCREENED),
]


def place(name: str, hull: dict[str, Any]) -> None:
    candidates.transition(
        name,
        source=State.SCREENED,
        to=State.SCREENED,
        token=0,
        agent="hull",
        updates={"hull": hull},
    )


def test_a_reference_that_is_named_must_be_there(database: Session) -> None:
    with pytest.raises(UnknownCollection, match="discovery data import mp"):
        resolve_hull(HullSettings(reference="mp"))
    imported()
    resolved = resolve_hull(HullSettings(reference="mp"))
    assert resolved == {
        **{"used": True, "name": "mp", "version": "v1", "checksum": "abababababab", "n": 0},
    }


def test_auto_takes_what_is_imported_and_says_what_it_took(database: Session) -> None:
    absent = resolve_hull(HullSettings(reference="auto"))
    assert absent["used"] is False
    assert "discovery data import mp" in absent["reason"]
    assert resolve_hull(HullSettings())["used"] is False
    imported()
    assert resolve_hull(HullSettings(reference="auto"))["name"] == "mp"
    others = {
        "generator": {"name": "perov5", "version": "abc"},
        "potential": {"level": "chgnet-0.3.0", "device": "cpu"},
        "screens": [],
        "dft": {"name": "none", "reason": "not asked for"},
    }
    assert any("hull: none (" in line for line in describe({**others, "hull": absent}))
    used = resolve_hull(HullSettings(reference="auto"))
    assert "hull: 0 crystals of mp v1" in describe({**others, "hull": used})


def test_formulas_of_the_reference_are_known_to_the_search(database: Session) -> None:
    imported()
    crystal = {"elements": ["Cl", "Na"], "n_atoms": 2, "structure": {}, "checksum": "x"}
    crystal |= {"reference_id": "mp-1", "formula": "NaCl", "chemical_system": "Cl-Na"}
    reference_structures.put("mp", [crystal])
    config = load_campaign("quickstart").record()
    resolved = {"potential": {"device": "cpu"}, "hull": {"used": True, "name": "mp"}}
    campaigns.create("placed", config=config, resolved=resolved, seed=0)
    is_known = Runtime("placed").is_known
    assert [is_known(formula) for formula in ("NaCl", "Na2Cl", "KCl")] == [True, False, False]
    resolved["hull"] = {"used": False, "reason": "not asked for"}
    campaigns.create("alone", config=config, resolved=resolved, seed=0)
    assert Runtime("alone").is_known is None


def test_the_shipped_campaigns() -> None:
    assert load_campaign("photovoltaic-3d").hull.reference == "auto"
    assert load_campaign("quickstart").hull.reference == "auto"


def test_a_round_waits_until_its_candidates_are_placed(database: Session) -> None:
    campaigns.create("c", config={}, seed=1)
    first, second = screened("a"), screened("b", episode=1)
    for number, name in enumerate((first, second)):
        generations.record(
            *("c", number, 0),
            proposer="p",
            base_id=None,
            seed=1,
            candidate_ids=[name],
            info={"round": number, "proposers": 1},
        )
    numbers = [candidates.load(name).seq for name in (first, second)]
    assert first_open("c") is None
    assert first_open("c", placed=True) == numbers[0]
    place(first, PLACED)
    assert first_open("c", placed=True) == numbers[1]
    place(second, {"level": "chgnet-0.3.0", "refused": {"reason": "incomplete", "detail": "mp-1"}})
    assert first_open("c", placed=True) is None


def test_distances_are_counted_and_shown(database: Session) -> None:
    campaigns.create("c", config={}, seed=1)
    names = [screened(name) for name in ("a", "b", "c", "d")]
    place(names[0], PLACED)
    place(names[1], {**PLACED, "energy_above_hull": -0.01})
    place(names[2], {**PLACED, "energy_above_hull": 0.3})
    refused = {"reason": "too_many_phases", "detail": "2000 phases"}
    place(names[3], {"level": "chgnet-0.3.0", "refused": refused})
    assert hull_counts("c") == {
        **{"placed": 3, "below": 1, "within_0.1": 2},
        "refused": {"too_many_phases": 1},
    }
    shown = io.StringIO()
    console = Console(file=shown, width=200)
    describe_candidate(full_record(names[0]), console)
    describe_candidate(full_record(names[3]), console)
    assert "+0.0420 eV/atom above 1.000 NaCl (mp-22862)" in shown.getvalue()
    assert "3 large cells left out" in shown.getvalue()
    assert "no hull (too_many_phases): 2000 phases" in shown.getvalue()
