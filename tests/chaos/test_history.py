"""The checker itself: a sound campaign passes, and each seeded violation is found."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from history import Records, disagreements, read, violations

from db import calculations, campaigns, candidates, events, generations, model_versions, queries
from db.candidates import StaleLease
from db.connection import Session
from db.states import CalculationState, State

CRYSTAL = {
    "lattice": [[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]],
    "species": ["Na", "Cl"],
    "frac_coords": [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]],
}
ENERGIES = {"NaCl": -4.0, "Na": -1.25, "Cl": -1.75}
"""Of the three calculations, eV/atom; the formation energy is -4 - (-1.25 - 1.75)/2 = -2.5."""
RELAX_STEP = {
    "evaluated": {"evaluation": {"formation_energy_per_atom": -2.0}},
    "relaxed": {"relaxation": {"formation_energy_per_atom": -2.4}},
    "screened": {"duplicates": {"campaign": {"matches": []}}},
}


def calculate(name: str) -> str:
    """Record one calculation with its only launch, and its result."""
    spec = {"kind": "compound", "code": "toy", "version": "1", "settings": {}, "formula": name}
    structure = {**CRYSTAL, "species": ["Na", "Cl"] if name == "NaCl" else [name, name]}
    info = {"campaign": "c"}
    calculations.claim({**spec, "hash": f"h-{name}", "structure": structure, "info": info})
    states = CalculationState
    calculations.advance(f"h-{name}", states.SUBMITTING, states.SUBMITTED, fw_id=len(name))
    result = {"energy_per_atom": ENERGIES[name], "band_gap": 1.5, "structure": structure}
    attempts = [{"error": None, "core_seconds": 1.0, "campaign": "c"}]
    calculations.advance(
        f"h-{name}", states.SUBMITTED, states.COMPLETED, result=result, attempts=attempts
    )
    return f"h-{name}"


def step(name: str, source: str, to: str, *, leased: bool, **fields: Any) -> None:
    """Move a candidate as its agent does, under a lease where a worker does it."""
    if leased:
        (found,) = candidates.lease("c", State(source), "w", 1, 60)
        assert found.id == name
    token = candidates.load(name).token
    agent = "screen" if leased else "loop"
    candidates.transition(
        name, source=State(source), to=State(to), token=token, agent=agent, **fields
    )


@pytest.fixture
def sound(database: Session) -> Records:
    """A complete campaign of three candidates: verified, rejected, screened; one refused write."""
    for name in ("fireworks", "launches"):  # what FireWorks writes
        database.database[name].delete_many({})
    campaigns.create("c", config={}, seed=0)
    codes = {"generator_version": "g", "codes": {"crystal": [1]}, "episode": 0, "generation": 0}
    names = candidates.insert_proposals("c", [{**codes, "codes_hash": h} for h in "abc"])
    info = {"round": 0, "proposers": 1}
    record = {"proposer": "random", "base_id": "b", "seed": 0, "info": info}
    generations.record("c", 0, 0, candidate_ids=names, **record)
    first, second, third = names
    step(first, "proposed", "evaluated", leased=True, updates=RELAX_STEP["evaluated"])
    step(second, "proposed", "rejected", leased=True, reason="volume")
    step(third, "proposed", "evaluated", leased=True, updates=RELAX_STEP["evaluated"])
    for name in (first, third):
        step(name, "evaluated", "prescreened", leased=True)
        step(name, "prescreened", "relaxing", leased=False)
        step(name, "relaxing", "relaxed", leased=True, updates=RELAX_STEP["relaxed"])
        step(name, "relaxed", "screened", leased=True, updates=RELAX_STEP["screened"])
    with pytest.raises(StaleLease):
        candidates.transition(
            third, source=State.RELAXED, to=State.SCREENED, token=1, agent="screen"
        )
    hashes = {name: calculate(name) for name in ENERGIES}
    step(first, "screened", "selected", leased=False, updates={"selection": {"position": 0}})
    own = {"compound": hashes.pop("NaCl"), "references": hashes}
    verification = {"calculations": own, "formation_energy_per_atom": -2.5, "band_gap": 1.5}
    fields = {"updates": {"verification": verification}}
    step(first, "selected", "verifying", leased=False, **fields)
    step(first, "verifying", "verified", leased=False)
    version = model_versions.store(
        "c", "head", b"w", parent=None, metrics={}, labels={}, decision="promoted"
    )
    campaigns.swap_live_model("c", None, version)
    told = {"version": version, "decision": "promoted", "parent": None}
    events.record("c", "learning", data=told)
    campaigns.set_state("c", "complete")
    return read(database.database, "c")


def test_a_sound_campaign_has_no_violation(sound: Records) -> None:
    assert len(sound.candidates) == 3
    assert [event["kind"] for event in sound.events] == ["stale_write_refused", "learning"]
    assert violations(sound) == []


def test_counts_of_status_are_compared_with_a_count_by_hand(sound: Records) -> None:
    summary = {"candidates": 3, "counts": queries.counts("c"), "reached": queries.reached("c")}

    assert disagreements(sound, summary) == []
    summary["counts"]["screened"] += 1
    assert [one.subject for one in disagreements(sound, summary)] == ["counts.screened"]


def test_one_unknown_campaign_is_an_error(database: Session) -> None:
    with pytest.raises(LookupError, match="nothing"):
        read(database.database, "nothing")


def moved_back(records: Records) -> None:
    records.candidates[0]["history"][2]["at"] -= timedelta(days=1)


def second_end(records: Records) -> None:
    history = records.candidates[0]["history"]
    history.append({**history[-1], "from": "verifying"})


def skipped_a_state(records: Records) -> None:
    del records.candidates[0]["history"][2]


def illegal_step(records: Records) -> None:
    entry = records.candidates[1]["history"][-1]
    history = records.candidates[1]["history"]
    history.append({**entry, "from": "rejected", "to": "evaluated", "token": 9})
    records.candidates[1].update(state="evaluated", token=9)


def written_without_a_lease(records: Records) -> None:
    history = records.candidates[0]["history"]
    history[1]["token"] = history[0]["token"]


def an_old_token_wrote(records: Records) -> None:
    records.candidates[0]["history"][-1]["token"] -= 1


def token_ran_back(records: Records) -> None:
    records.candidates[0]["token"] = 0


def refused_and_written(records: Records) -> None:
    event = records.events[0]
    (candidate,) = (c for c in records.candidates if c["_id"] == event["data"]["candidate"])
    entry = candidate["history"][5]
    assert (entry["from"], entry["to"]) == ("relaxed", "screened")
    event["data"]["expected"]["token"] = entry["token"]
    event["at"] = entry["at"] - timedelta(milliseconds=1)


def candidate_gone(records: Records) -> None:
    records.candidates.pop(1)


def codes_twice(records: Records) -> None:
    records.candidates[1]["codes_hash"] = records.candidates[0]["codes_hash"]


def generation_twice(records: Records) -> None:
    records.generations.append(copy.deepcopy(records.generations[0]))


def generation_missing(records: Records) -> None:
    records.generations.clear()


def round_missing(records: Records) -> None:
    records.generations[0]["info"]["round"] = 1


def result_missing(records: Records) -> None:
    records.candidates[2]["relaxation"] = {}


def rejection_missing(records: Records) -> None:
    records.candidates[1]["rejection"] = None


def error_without_failure(records: Records) -> None:
    records.candidates[0]["error"] = "gave up"


def same_question_twice(records: Records) -> None:
    again = {**copy.deepcopy(records.calculations[0]), "_id": "other"}
    records.calculations.append(again)


def queued_twice(records: Records) -> None:
    spec = {"calculation": "h-Na", "hash": "h-Na"}
    records.fireworks.extend([{"fw_id": 1, "spec": spec}, {"fw_id": 2, "spec": spec}])


def launched_twice(records: Records) -> None:
    records.fireworks.append({"fw_id": 1, "spec": {"calculation": "h-Na", "hash": "h-Na"}})
    launch = {"fw_id": 1, "action": {"stored_data": {"result": {}}}}
    records.launches.extend([launch, launch])


def charged_twice(records: Records) -> None:
    records.calculations[0]["attempts"] *= 2


def calculation_jumped(records: Records) -> None:
    del records.calculations[0]["history"][0]


def calculation_state_unexplained(records: Records) -> None:
    records.calculations[0]["history"].pop()


def number_differs(records: Records) -> None:
    records.candidates[0]["verification"]["formation_energy_per_atom"] += 1e-6


def gap_differs(records: Records) -> None:
    records.candidates[0]["verification"]["band_gap"] = 0.0


def verified_too_early(records: Records) -> None:
    records.calculations[-1]["history"].pop()
    records.calculations[-1]["state"] = "submitted"


def another_model_is_live(records: Records) -> None:
    records.campaign["live_model"] = "older"


def promoted_from_another(records: Records) -> None:
    records.events[1]["data"]["parent"] = "older"


def concluded_twice(records: Records) -> None:
    records.events.append(copy.deepcopy(records.events[1]))


def never_concluded(records: Records) -> None:
    del records.events[1]


def still_leased(records: Records) -> None:
    records.candidates[0]["lease"] = {"owner": "w", "expires_at": None}


def still_under_way(records: Records) -> None:
    records.candidates[2]["history"].pop()
    records.candidates[2]["state"] = "relaxed"


def still_led(records: Records) -> None:
    records.campaign["leader"] = {"owner": "w", "expires_at": None}


def not_complete(records: Records) -> None:
    records.campaign["state"] = "running"


SEEDED: dict[Callable[[Records], None], str] = {
    moved_back: "times",
    second_end: "one end",
    skipped_a_state: "legal steps",
    illegal_step: "legal steps",
    written_without_a_lease: "tokens",
    an_old_token_wrote: "tokens",
    token_ran_back: "tokens",
    refused_and_written: "refusals",
    candidate_gone: "nothing lost",
    codes_twice: "nothing doubled",
    generation_twice: "nothing doubled",
    generation_missing: "counts",
    round_missing: "counts",
    result_missing: "results",
    rejection_missing: "results",
    error_without_failure: "results",
    same_question_twice: "paid once",
    queued_twice: "paid once",
    launched_twice: "paid once",
    charged_twice: "paid once",
    calculation_jumped: "calculation steps",
    calculation_state_unexplained: "calculation steps",
    number_differs: "verified numbers",
    gap_differs: "verified numbers",
    verified_too_early: "verified numbers",
    another_model_is_live: "learning",
    promoted_from_another: "learning",
    concluded_twice: "learning",
    never_concluded: "ended",
    still_leased: "ended",
    still_under_way: "ended",
    still_led: "ended",
    not_complete: "ended",
}


@pytest.mark.parametrize(("seed", "rule"), SEEDED.items(), ids=[seed.__name__ for seed in SEEDED])
def test_a_seeded_violation_is_found(
    sound: Records, seed: Callable[[Records], None], rule: str
) -> None:
    seed(sound)

    assert rule in {one.rule for one in violations(sound)}


@pytest.mark.parametrize(("back_to", "found"), [("relaxed", set()), ("evaluated", {"legal steps"})])
def test_a_failed_candidate_goes_back_only_to_where_it_failed(
    sound: Records, back_to: str, found: set[str]
) -> None:
    candidate = sound.candidates[2]
    *earlier, last = candidate["history"]
    token = last["token"]
    candidate["history"] = [
        *earlier,
        {**last, "to": "failed"},
        {**last, "from": "failed", "to": back_to, "agent": "ann", "token": token + 1},
        {**last, "token": token + 2},
    ]
    candidate["token"] = token + 2

    rules = {one.rule for one in violations(sound)}
    assert rules >= found
    assert bool(rules) == bool(found)
