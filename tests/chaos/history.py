"""Reads one campaign's records and names everything in them that must not be, whoever crashed.

The rules are written down here anew, from the design, and share no code with the product: a
mistake in `db.states` is not repeated. `read` takes a snapshot, `violations` judges it; an empty
list means that nothing was lost, doubled, paid for twice or written by somebody who had no right
to.

    records = read(session.database, "tiny")
    assert not violations(records), report(violations(records))
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Document = dict[str, Any]

NEXT = {
    "proposed": {"evaluated"},
    "evaluated": {"prescreened"},
    "prescreened": {"relaxing"},
    "relaxing": {"relaxed"},
    "relaxed": {"screened"},
    "screened": {"selected", "screened"},
    "selected": {"verifying"},
    "verifying": {"verified"},
    "verified": {"verified"},
    "failed": {"verifying"},  # a person has its calculation run again, or else see below
    "rejected": set(),
}
"""Legal steps; from every state but the final ones also to ``rejected`` and ``failed``."""
FINAL = frozenset({"verified", "rejected", "failed"})
RESTING = FINAL | {"screened"}
"""Where candidates are when a campaign is complete; nothing chose the screened ones for DFT."""
UNDER_A_LEASE = frozenset({"proposed", "evaluated", "relaxing", "relaxed"})
"""States that only a worker with a lease of its own takes a candidate out of."""
RESULTS = {
    "evaluated": ("evaluation", "formation_energy_per_atom"),
    "relaxed": ("relaxation", "formation_energy_per_atom"),
    "screened": ("duplicates", "campaign"),
    "selected": ("selection", "position"),
    "verifying": ("verification", "calculations"),
    "verified": ("verification", "formation_energy_per_atom"),
}
"""The result that makes each state true."""
CALCULATION_NEXT = {
    "submitting": {"submitted", "failed"},
    "submitted": {"completed", "failed"},
    "completed": {"completed"},
    "failed": {"submitting", "failed"},
}


@dataclass(frozen=True)
class Violation:
    """One thing that must not be.

    Attributes:
        rule: Name of the broken rule.
        subject: Candidate, calculation, generation, version or campaign.
        text: What was found.
    """

    rule: str
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.subject}: {self.text}"


@dataclass(frozen=True)
class Records:
    """Everything that the database holds of one campaign, as plain documents."""

    campaign: Document
    candidates: list[Document]
    generations: list[Document]
    calculations: list[Document]
    fireworks: list[Document]
    launches: list[Document]
    model_versions: list[Document]
    events: list[Document]


def read(database: Any, campaign: str) -> Records:
    """Read a campaign.

    Args:
        database: A pymongo database.
        campaign: Name of the campaign.

    Raises:
        LookupError: There is none of this name.
    """
    found = database["campaigns"].find_one({"_id": campaign})
    if found is None:
        raise LookupError(f"there is no campaign {campaign!r}")
    of_campaign = {"campaign": campaign}
    candidates = list(database["candidates"].find(of_campaign).sort("seq", 1))
    hashes = {hash for one in candidates for hash in _hashes(one)}
    paid = {"$or": [{"info.campaign": campaign}, {"_id": {"$in": sorted(hashes)}}]}
    calculations = list(database["calculations"].find(paid).sort("created_at", 1))
    names = [one["_id"] for one in calculations]
    fireworks = list(database["fireworks"].find({"spec.hash": {"$in": names}}))
    numbers = [one["fw_id"] for one in fireworks]
    launches = list(database["launches"].find({"fw_id": {"$in": numbers}}))
    return Records(
        campaign=found,
        candidates=candidates,
        generations=list(database["generations"].find(of_campaign)),
        calculations=calculations,
        fireworks=fireworks,
        launches=launches,
        model_versions=list(database["model_versions"].find(of_campaign).sort("created_at", 1)),
        events=list(database["events"].find(of_campaign).sort([("at", 1), ("_id", 1)])),
    )


def violations(records: Records, *, finished: bool = True) -> list[Violation]:
    """Judge a snapshot.

    Args:
        records: From `read`.
        finished: The campaign is complete: nothing may be under way any more.
    """
    rules = [*ALWAYS, *(AT_THE_END if finished else ())]
    return [found for rule in rules for found in rule(records)]


def report(found: Sequence[Violation]) -> str:
    """Write violations for a person, one a line."""
    return "\n".join(str(one) for one in found) or "no violation"


def _legal_steps(records: Records) -> Iterator[Violation]:
    """Each history is one unbroken path of legal steps that ends in the candidate's state."""
    for one in records.candidates:
        steps = [(entry["from"], entry["to"]) for entry in one["history"]]
        if steps[0] != (None, "proposed"):
            yield Violation("legal steps", one["_id"], f"it begins with {steps[0]}")
        for (origin, before), (source, to) in pairwise(steps):
            legal = set(NEXT[source]) | (set() if source in FINAL else {"rejected", "failed"})
            if source == "failed":  # a person lets a worker try again what failed
                legal.add(origin)
            if source != before:
                text = f"it was {before}, but was moved as {source}"
                yield Violation("legal steps", one["_id"], text)
            if to not in legal:
                yield Violation("legal steps", one["_id"], f"{source} became {to}")
        if steps[-1][1] != one["state"]:
            text = f"its history ends {steps[-1][1]}, but it is {one['state']}"
            yield Violation("legal steps", one["_id"], text)


def _one_end(records: Records) -> Iterator[Violation]:
    """No candidate is twice in a state; only a person's new attempt opens an ended one again."""
    for one in records.candidates:
        entered = Counter(e["to"] for e in one["history"] if e["from"] != e["to"])
        again = Counter(e["to"] for e in one["history"] if e["from"] == "failed")
        for state, times in entered.items():
            if times > 1 + (again.total() if state in FINAL else again[state]):
                yield Violation("one end", one["_id"], f"it became {state} {times} times")


def _times(records: Records) -> Iterator[Violation]:
    """Times of the server never run backwards in any record."""
    for one in records.candidates:
        yield from _backwards(one["_id"], [one["created_at"], *_at(one)])
    for one in records.calculations:
        last = [one["completed_at"]] if one.get("completed_at") else []
        yield from _backwards(one["_id"], [one["created_at"], *_at(one)])
        yield from _backwards(one["_id"], [one["created_at"], *last])
    born = {one["_id"]: one["created_at"] for one in records.candidates}
    for one in records.generations:
        at = one["created_at"]
        late = [name for name in one["candidate_ids"] if born.get(name, at) > at]
        if late:
            yield Violation("times", _name(one), f"recorded before its candidates {late} existed")


def _tokens(records: Records) -> Iterator[Violation]:
    """Fencing tokens only grow, and every write of a worker was made with a lease of its own."""
    for one in records.candidates:
        for before, entry in pairwise(one["history"]):
            step = f"{entry['from']} to {entry['to']}"
            grown = entry["token"] - before["token"]
            if grown < 0:
                text = f"{step} with token {entry['token']} after one with {before['token']}"
                yield Violation("tokens", one["_id"], text)
            elif entry["from"] in UNDER_A_LEASE and not grown:
                text = f"{step} without a lease of its own (token {entry['token']})"
                yield Violation("tokens", one["_id"], text)
        if one["token"] < one["history"][-1]["token"]:
            yield Violation("tokens", one["_id"], f"its token went back to {one['token']}")


def _refusals(records: Records) -> Iterator[Violation]:
    """A write that was recorded as refused is in no history."""
    of = {one["_id"]: one for one in records.candidates}
    for event in records.events:
        if event["kind"] != "stale_write_refused":
            continue
        data = event["data"]
        expected, candidate = data["expected"], of.get(data["candidate"])
        if data["expected"] == data["found"]:
            yield Violation("refusals", data["candidate"], "a write with the right token refused")
        if candidate is None:
            yield Violation("refusals", data["candidate"], "a write to an unknown candidate")
            continue
        for entry in candidate["history"]:
            same = entry["from"] == expected["state"] and entry["token"] == expected["token"]
            if same and entry["agent"] == event["agent"] and entry["at"] > event["at"]:
                text = f"{data['attempted']} was refused and written later with the same token"
                yield Violation("refusals", data["candidate"], text)


def _results(records: Records) -> Iterator[Violation]:
    """A state comes with the result that it stands for; a rejection and an error with reasons."""
    for one in records.candidates:
        for state in {entry["to"] for entry in one["history"]} & set(RESULTS):
            field, key = RESULTS[state]
            if (one.get(field) or {}).get(key) is None:
                yield Violation("results", one["_id"], f"it was {state} without {field}.{key}")
        if (one["state"] == "rejected") != bool(one.get("rejection")):
            yield Violation("results", one["_id"], f"{one['state']} with {one.get('rejection')}")
        if (one["state"] == "failed") != bool(one.get("error")):
            yield Violation("results", one["_id"], f"{one['state']} with error {one.get('error')}")


def _nothing_lost(records: Records) -> Iterator[Violation]:
    """Every candidate that a generation names exists, once, and its codes are its own."""
    known = {one["_id"] for one in records.candidates}
    for one in records.generations:
        for name in one["candidate_ids"]:
            if name not in known:
                yield Violation("nothing lost", name, f"{_name(one)} proposed it; it is gone")
    for key in ("codes_hash", "seq"):
        for value, times in Counter(one[key] for one in records.candidates).items():
            if times > 1:
                yield Violation("nothing doubled", f"{key} {value}", f"{times} candidates have it")
    numbers = Counter((one["episode"], one["generation"]) for one in records.generations)
    for number, times in numbers.items():
        if times > 1:
            yield Violation("nothing doubled", f"generation {number}", f"recorded {times} times")


def _calculation_steps(records: Records) -> Iterator[Violation]:
    """A calculation's history is one unbroken path of legal steps to its state."""
    for one in records.calculations:
        at = "submitting"
        for entry in one.get("history", []):
            source, to = entry["from"], entry["to"]
            if source != at or to not in CALCULATION_NEXT[source]:
                text = f"{at} was moved from {source} to {to}"
                yield Violation("calculation steps", one["_id"], text)
            at = to
        if one.get("history") and at != one["state"]:
            text = f"its history ends {at}, but it is {one['state']}"
            yield Violation("calculation steps", one["_id"], text)


def _paid_once(records: Records) -> Iterator[Violation]:
    """One calculation for one question, one Firework for one attempt, one completed launch."""
    asked: dict[str, list[str]] = defaultdict(list)
    for one in records.calculations:
        names = ("code", "version", "settings", "structure", "task", "parent", "options")
        question = {name: one.get(name) for name in names}
        question["changes"] = one["info"].get("changes")
        asked[json.dumps(question, sort_keys=True, default=str)].append(one["_id"])
    for same in asked.values():
        if len(same) > 1:
            yield Violation("paid once", same[0], f"calculated again as {', '.join(same[1:])}")
    for job, times in Counter(one["spec"]["calculation"] for one in records.fireworks).items():
        if times > 1:
            yield Violation("paid once", job, f"queued {times} times")
    hash_of = {one["fw_id"]: one["spec"]["hash"] for one in records.fireworks}
    completed = Counter(
        hash_of[one["fw_id"]]
        for one in records.launches
        if "result" in ((one.get("action") or {}).get("stored_data") or {})
    )
    for one in records.calculations:
        if completed[one["_id"]] > 1:
            yield Violation("paid once", one["_id"], f"{completed[one['_id']]} launches gave it")
        good = sum(not attempt.get("error") for attempt in one.get("attempts", []))
        if one["state"] == "completed" and one.get("fw_id") is not None and good != 1:
            yield Violation("paid once", one["_id"], f"{good} paid attempts succeeded, not 1")


def _verified_numbers(records: Records) -> Iterator[Violation]:
    """The numbers of a verified candidate are those of its calculations."""
    of = {one["_id"]: one for one in records.calculations}
    for one in records.candidates:
        if one["state"] != "verified":
            continue
        missing = sorted(
            name for name in _hashes(one) if (of.get(name) or {}).get("state") != "completed"
        )
        if missing:
            text = f"verified by calculations that are not completed: {', '.join(missing)}"
            yield Violation("verified numbers", one["_id"], text)
            continue
        stored, names = one["verification"], one["verification"]["calculations"]
        result = of[names["compound"]]["result"]
        gap = of[names.get("gap", names["compound"])]["result"]["band_gap"]
        energy, atoms = result["energy_per_atom"], Counter(result["structure"]["species"])
        for element, name in names["references"].items():
            reference = of[name]
            own = reference["result"]["energy_per_atom"]
            own -= reference["info"].get("above_ground_state", 0.0)
            energy -= atoms[element] / sum(atoms.values()) * own
        for name, value in (("formation_energy_per_atom", energy), ("band_gap", gap)):
            if not math.isclose(stored[name], value, abs_tol=1e-9):
                text = f"{name} is {stored[name]}, its calculations say {value}"
                yield Violation("verified numbers", one["_id"], text)


def _learning(records: Records) -> Iterator[Violation]:
    """Every stored version was concluded once, and the live model is the last promotion."""
    told = [event["data"] for event in records.events if event["kind"] == "learning"]
    times = Counter(data["version"] for data in told if data["version"])
    for version in records.model_versions:
        if times[version["_id"]] > 1:
            yield Violation("learning", version["_id"], f"concluded {times[version['_id']]} times")
    live = None
    for data in told:
        if data["decision"] == "promoted":
            if data["parent"] != live:
                text = f"came from {data['parent']}, but {live} was live"
                yield Violation("learning", data["version"], text)
            live = data["version"]
    if records.campaign["live_model"] != live:
        stored = {one["_id"] for one in records.model_versions if one["decision"] == "promoted"}
        unconcluded = records.campaign["live_model"] in stored - set(times)
        if not unconcluded:  # a crash came between the swap and its event: the next call tells it
            text = f"{records.campaign['live_model']} is live, the last promotion was {live}"
            yield Violation("learning", records.campaign["_id"], text)


def _everything_ended(records: Records) -> Iterator[Violation]:
    """A complete campaign has nothing under way, no lease, no leader and no claim."""
    campaign = records.campaign
    if campaign["state"] != "complete":
        yield Violation("ended", campaign["_id"], f"it is {campaign['state']}")
    for claim in ("leader", "learner"):
        if campaign.get(claim):
            yield Violation("ended", campaign["_id"], f"{claim} is still {campaign[claim]}")
    for one in records.candidates:
        if one["state"] not in RESTING:
            yield Violation("ended", one["_id"], f"it is still {one['state']}")
        if one.get("lease"):
            yield Violation("ended", one["_id"], f"it is still leased: {one['lease']}")
    for one in records.calculations:
        if one["state"] not in ("completed", "failed"):
            yield Violation("ended", one["_id"], f"it is still {one['state']}")
    told = {e["data"]["version"] for e in records.events if e["kind"] == "learning"}
    for one in records.model_versions:
        if one["_id"] not in told:
            yield Violation("ended", one["_id"], "stored, but never concluded")


def _counts(records: Records) -> Iterator[Violation]:
    """What was proposed is what there is."""
    proposed = {name for one in records.generations for name in one["candidate_ids"]}
    for one in records.candidates:
        if one["_id"] not in proposed:
            yield Violation("counts", one["_id"], "no generation proposed it")
    numbers = defaultdict(set)
    for one in records.generations:
        numbers[one["info"]["round"]].add(one["episode"])
    for place, number in enumerate(sorted(numbers)):
        if number != place:
            yield Violation("counts", f"round {place}", "it is missing")


def disagreements(records: Records, summary: Document) -> list[Violation]:
    """Compare what ``discovery status --json`` counts with a count by hand.

    Args:
        records: From `read`, of a campaign in which nothing happens any more.
        summary: What the command printed.
    """
    states = Counter(one["state"] for one in records.candidates)
    reached = Counter(
        state for one in records.candidates for state in {e["to"] for e in one["history"]}
    )
    by_hand = {
        "candidates": len(records.candidates),
        **{f"counts.{state}": states[state] for state in NEXT},
        **{f"reached.{state}": reached[state] for state in NEXT},
    }
    found = []
    for name, number in by_hand.items():
        group, _, state = name.partition(".")
        shown = summary[group].get(state, 0) if state else summary[group]
        if shown != number:
            text = f"status says {shown}, by hand it is {number}"
            found.append(Violation("counts", name, text))
    return found


ALWAYS: tuple[Callable[[Records], Iterator[Violation]], ...] = (
    _legal_steps,
    _one_end,
    _times,
    _tokens,
    _refusals,
    _results,
    _nothing_lost,
    _calculation_steps,
    _paid_once,
    _verified_numbers,
    _learning,
)
AT_THE_END = (_everything_ended, _counts)


def _hashes(candidate: Document) -> set[str]:
    """Return the calculations that a candidate names."""
    names = dict((candidate.get("verification") or {}).get("calculations") or {})
    return {*names.pop("references", {}).values(), *names.values()}


def _at(document: Document) -> list[Any]:
    return [entry["at"] for entry in document.get("history", [])]


def _backwards(subject: str, times: Sequence[Any]) -> Iterator[Violation]:
    for before, after in pairwise(times):
        if after < before:
            yield Violation("times", subject, f"{after} was recorded after {before}")


def _name(generation: Document) -> str:
    return f"generation {generation['generation']} of episode {generation['episode']}"
